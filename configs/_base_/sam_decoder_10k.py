"""Segment Anything, stage 2b: the mask decoder learns the masks."""

_base_ = [
    "datasets/sa1b.py",
    "schedules/sam_10k.py",
    "default_runtime.py",
]
custom_imports = dict(imports=["freekd.distill", "freekd.models.sam", "freekd.datasets.sam"])
optimizer = dict(lr=1e-4)
