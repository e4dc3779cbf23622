"""DINO, 4 scales, on a ResNet-18."""

_base_ = ["dino_4scale_r50.py"]
model = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint="torchvision://resnet18")),
    neck=dict(in_channels=[128, 256, 512]),
)
