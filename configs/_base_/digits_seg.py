"""The bundled segmentation task for 20 epochs."""

_base_ = [
    "datasets/digits_seg.py",
    "schedules/digits_seg.py",
    "default_runtime.py",
]
