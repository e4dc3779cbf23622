"""Teacher of the bundled task: RetinaNet-R34, 14 epochs."""

_base_ = [
    "../_base_/models/retinanet_r34_digits.py",
    "../_base_/datasets/digits_detection.py",
    "../_base_/schedules/digits_8e.py",
    "../_base_/default_runtime.py",
]
runner = dict(max_epochs=14)
work_dir = "work_dirs/digits/teacher"
