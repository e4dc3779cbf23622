"""Stage 2 on the bundled task: FreeKD on standardised channels, squared difference."""

_base_ = ["../_base_/digits_8e.py"]
pair = dict(
    teacher="configs/_base_/models/retinanet_r34_digits.py",
    teacher_checkpoint="work_dirs/digits/teacher/latest.pth",
    student="configs/_base_/models/retinanet_r18_digits.py",
    prompts="work_dirs/digits/prompts/prompts.pth",
    freekd=dict(align="conv1x1", normalize="channel", distance="l2", loss_weight=2.0),
)
work_dir = "work_dirs/digits/freekd"
