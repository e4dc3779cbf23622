"""Stock configs by name, their files and their weights."""
