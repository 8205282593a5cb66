"""What each guest can drive and what the site prefers: YAML in, immutable values out."""
