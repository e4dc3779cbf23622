"""The bundled set of Segment Anything, with masks, for 8 epochs of 50 iterations."""

_base_ = [
    "datasets/digits_sam.py",
    "schedules/digits_sam.py",
    "default_runtime.py",
]
custom_imports = dict(imports=["freekd.distill", "freekd.models.sam", "freekd.datasets.sam"])
