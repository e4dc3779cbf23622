"""Stage 1 on the scenes, as published."""

_base_ = ["../_base_/scenes_prompt.py"]
prompt = dict(
    teacher="configs/_base_/models/retinanet_r18w32_scenes.py",
    teacher_checkpoint="work_dirs/scenes/teacher/digits.pth",
)
work_dir = "work_dirs/scenes/prompts"
