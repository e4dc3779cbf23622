"""Student of the bundled task alone: a narrow RetinaNet-R18, 8 epochs."""

_base_ = [
    "../_base_/models/retinanet_r18_digits.py",
    "../_base_/datasets/digits_detection.py",
    "../_base_/schedules/digits_8e.py",
    "../_base_/default_runtime.py",
]
work_dir = "work_dirs/digits/baseline"
