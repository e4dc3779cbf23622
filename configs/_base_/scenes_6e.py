"""The scenes for 6 epochs of 63 iterations, scored at the end."""

_base_ = [
    "datasets/scenes_detection.py",
    "schedules/digits_8e.py",
    "default_runtime.py",
]
runner = dict(max_epochs=6)
evaluation = dict(interval=1000)
