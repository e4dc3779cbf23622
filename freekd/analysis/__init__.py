"""What a model does beyond one score: confusion, errors, robustness, and logs of any run."""
