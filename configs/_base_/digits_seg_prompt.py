"""Stage 1 on the bundled segmentation task: 300 iterations."""

_base_ = [
    "datasets/digits_seg.py",
    "schedules/prompt_2k.py",
    "default_runtime.py",
]
runner = dict(max_iters=300)
evaluation = dict(interval=300)
checkpoint_config = dict(interval=100)
