"""Stage 2 on COCO: 12 epochs."""

_base_ = [
    "datasets/coco_detection.py",
    "schedules/coco_1x.py",
    "default_runtime.py",
]
