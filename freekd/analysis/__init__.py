"""What a finished run can be asked: the analyses behind ``tools/analysis/``."""
