"""A small RetinaNet for the scenes: strides 4 to 16, a ResNet-18 of 8 channels at first."""

_base_ = ["retinanet_r18_digits.py"]
model = dict(
    backbone=dict(
        base_channels=8, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2)
    ),
    neck=dict(in_channels=[8, 16, 32], out_channels=48, start_level=0),
    bbox_head=dict(
        in_channels=48,
        feat_channels=48,
        stacked_convs=1,
        anchor_generator=dict(scales_per_octave=2, ratios=[1.0, 2.0], strides=[4, 8, 16]),
    ),
    test_cfg=dict(max_per_img=50),
)
