"""Which operating system a domain runs, and by what evidence."""
