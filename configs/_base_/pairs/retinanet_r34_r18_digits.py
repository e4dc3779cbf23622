"""RetinaNet R34 -> R18 on the bundled task: who teaches whom, on which data, for how long."""

_base_ = ["../digits_8e.py"]
pair = dict(
    teacher="configs/_base_/models/retinanet_r34_digits.py",
    teacher_checkpoint="work_dirs/digits/teacher/latest.pth",
    student="configs/_base_/models/retinanet_r18_digits.py",
)
