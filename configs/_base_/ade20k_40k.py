"""Stage 2 on ADE20K: 40 000 iterations."""

_base_ = [
    "datasets/ade20k_512x512.py",
    "schedules/seg_40k.py",
    "default_runtime.py",
]
