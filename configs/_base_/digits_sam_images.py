"""The bundled set of Segment Anything, its images alone."""

_base_ = [
    "datasets/digits_sam_images.py",
    "schedules/digits_sam.py",
    "default_runtime.py",
]
custom_imports = dict(imports=["freekd.distill", "freekd.models.sam", "freekd.datasets.sam"])
