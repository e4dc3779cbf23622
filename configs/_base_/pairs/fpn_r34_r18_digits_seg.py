"""Semantic FPN R34 -> R18 on the bundled segmentation task."""

_base_ = ["../digits_seg.py"]
pair = dict(
    teacher="configs/_base_/models/fpn_r34_digits_seg.py",
    teacher_checkpoint="work_dirs/teacher/fpn_r34_digits_seg/latest.pth",
    student="configs/_base_/models/fpn_r18_digits_seg.py",
)
