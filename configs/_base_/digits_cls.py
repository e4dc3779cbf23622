"""The bundled classification task for 10 epochs."""

_base_ = [
    "datasets/digits_cls.py",
    "schedules/digits_cls.py",
    "default_runtime.py",
]
