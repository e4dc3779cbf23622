"""Segment Anything, stage 2a: the image encoder learns the teacher's embeddings."""

_base_ = [
    "datasets/sa1b_images.py",
    "schedules/sam_10k.py",
    "default_runtime.py",
]
custom_imports = dict(imports=["freekd.distill", "freekd.models.sam", "freekd.datasets.sam"])
