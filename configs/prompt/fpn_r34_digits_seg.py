"""Stage 1 on the bundled segmentation task: prompts of the teacher's predicted maps."""

_base_ = ["../_base_/digits_seg_prompt.py"]
prompt = dict(
    teacher="configs/_base_/models/fpn_r34_digits_seg.py",
    teacher_checkpoint="work_dirs/teacher/fpn_r34_digits_seg/latest.pth",
    module="decode_head.conv_seg",
)
