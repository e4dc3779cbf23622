"""A ResNet-34 for pictures of 32 pixels, twice as wide as the student."""

_base_ = ["resnet18_digits_cls.py"]
model = dict(
    backbone=dict(depth=34, stem_channels=16, base_channels=16), head=dict(in_channels=128)
)
