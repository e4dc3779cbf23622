"""Stage 2 on COCO for DINO: 12 epochs."""

_base_ = [
    "datasets/coco_detr.py",
    "schedules/coco_dino_12e.py",
    "default_runtime.py",
]
