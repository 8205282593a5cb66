"""Carries plans out: defines, reads back, keeps a journal, restores. Talks to ports only."""
