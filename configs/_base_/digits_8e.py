"""The bundled task for 8 epochs."""

_base_ = [
    "datasets/digits_detection.py",
    "schedules/digits_8e.py",
    "default_runtime.py",
]
