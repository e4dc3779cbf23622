"""Looking at what was trained: logs, errors, confusion, robustness."""
