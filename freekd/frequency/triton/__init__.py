"""The Haar transform, its weighted distance and the prompts' masks as GPU kernels (Triton)."""
