"""Training and testing: what the command-line entries in ``tools/`` call."""
