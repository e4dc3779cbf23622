"""The bundled classification task for 20 epochs."""

_base_ = [
    "datasets/digits_cls.py",
    "schedules/digits_cls.py",
    "default_runtime.py",
]
