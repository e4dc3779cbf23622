"""Stage 2 on COCO for Deformable DETR: 12 epochs."""

_base_ = [
    "datasets/coco_detr.py",
    "schedules/coco_detr_12e.py",
    "default_runtime.py",
]
