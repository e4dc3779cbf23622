"""The bundled task for a DINO: 16 epochs."""

_base_ = [
    "datasets/digits_detection.py",
    "schedules/digits_dino_16e.py",
    "default_runtime.py",
]
