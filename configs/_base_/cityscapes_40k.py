"""Stage 2 on Cityscapes: 40 000 iterations."""

_base_ = [
    "datasets/cityscapes_512x512.py",
    "schedules/seg_40k.py",
    "default_runtime.py",
]
