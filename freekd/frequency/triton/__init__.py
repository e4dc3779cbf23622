"""The Haar transform, distance and masks as Triton kernels."""
