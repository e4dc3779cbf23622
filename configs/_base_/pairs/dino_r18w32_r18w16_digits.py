"""DINO R18, 32 channels wide -> 16, on the bundled task: who teaches whom, for how long."""

_base_ = ["../digits_dino_16e.py"]
pair = dict(
    teacher="configs/_base_/models/dino_r18w32_digits.py",
    teacher_checkpoint="work_dirs/teacher/dino_r18w32_digits/latest.pth",
    student="configs/_base_/models/dino_r18w16_digits.py",
    module="bbox_head.transformer.encoder",
)
