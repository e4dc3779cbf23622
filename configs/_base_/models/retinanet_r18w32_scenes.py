"""The teacher of the scenes: the same detector, four times as wide; the ten digits alone."""

_base_ = ["retinanet_r18w8_scenes.py"]
model = dict(backbone=dict(base_channels=32), neck=dict(in_channels=[32, 64, 128]))
