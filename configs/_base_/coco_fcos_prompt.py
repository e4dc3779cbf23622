"""Stage 1 on COCO for FCOS: 2000 iterations."""

_base_ = [
    "datasets/coco_fcos.py",
    "schedules/prompt_2k.py",
    "default_runtime.py",
]
evaluation = dict(interval=2000)  # iterations: once, at the end
