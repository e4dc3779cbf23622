"""Prompts: their spec, masks, files, and the release's files."""
