"""Stage 1 on Cityscapes: 10 000 iterations."""

_base_ = [
    "datasets/cityscapes_512x512.py",
    "schedules/prompt_seg_10k.py",
    "default_runtime.py",
]
