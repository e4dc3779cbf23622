"""The teacher: the same small DINO on a backbone twice as wide."""

_base_ = ["dino_r18w16_digits.py"]
model = dict(
    backbone=dict(base_channels=32),
    neck=dict(in_channels=[64, 128, 256]),
)
