"""The teacher of the bundled task: the same detector on a full-width ResNet-34."""

_base_ = ["retinanet_r18_digits.py"]
model = dict(
    backbone=dict(depth=34, base_channels=64),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
