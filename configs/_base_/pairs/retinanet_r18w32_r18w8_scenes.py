"""The scenes: a teacher that has learned digits and letters, a narrow student of the digits."""

_base_ = ["../scenes_6e.py"]
pair = dict(
    teacher="configs/_base_/models/retinanet_r18w32_scenes.py",
    teacher_checkpoint="work_dirs/scenes/teacher/digits.pth",
    student="configs/_base_/models/retinanet_r18w8_scenes.py",
)
