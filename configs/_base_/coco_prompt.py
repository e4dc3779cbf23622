"""Stage 1 on COCO: 2000 iterations."""

_base_ = [
    "datasets/coco_detection.py",
    "schedules/prompt_2k.py",
    "default_runtime.py",
]
evaluation = dict(interval=2000)  # iterations: once, at the end
