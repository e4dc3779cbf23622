"""Stage 2 on COCO for FCOS: 24 epochs."""

_base_ = [
    "datasets/coco_fcos.py",
    "schedules/coco_fcos_2x.py",
    "default_runtime.py",
]
