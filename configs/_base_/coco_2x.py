"""Stage 2 on COCO: 24 epochs."""

_base_ = [
    "datasets/coco_detection.py",
    "schedules/coco_2x.py",
    "default_runtime.py",
]
