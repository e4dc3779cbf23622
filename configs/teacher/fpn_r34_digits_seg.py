"""Teacher of the bundled segmentation task: semantic FPN on a ResNet-34, 32 channels wide."""

_base_ = ["../_base_/models/fpn_r34_digits_seg.py", "../_base_/digits_seg.py"]
