"""Runs side by side: the quickstart, its table and its pictures."""
