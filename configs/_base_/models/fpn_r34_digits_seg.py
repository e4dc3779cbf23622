"""The teacher: a ResNet-34 twice as wide as the student's backbone, and a wider pyramid."""

_base_ = ["fpn_r18_digits_seg.py"]
model = dict(
    backbone=dict(depth=34, stem_channels=32, base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    decode_head=dict(in_channels=[64, 64, 64, 64], channels=64),
)
