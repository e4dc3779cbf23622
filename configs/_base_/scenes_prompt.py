"""Stage 1 on the scenes: 300 iterations."""

_base_ = [
    "datasets/scenes_detection.py",
    "schedules/prompt_2k.py",
    "default_runtime.py",
]
runner = dict(max_iters=300)
evaluation = dict(interval=300)
checkpoint_config = dict(interval=100)
