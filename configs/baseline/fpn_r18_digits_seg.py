"""Student of the bundled segmentation task alone: semantic FPN on a narrow ResNet-18."""

_base_ = ["../_base_/models/fpn_r18_digits_seg.py", "../_base_/digits_seg.py"]
