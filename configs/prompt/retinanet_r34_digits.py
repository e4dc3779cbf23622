"""Stage 1 on the bundled task: frequency prompts in the frozen RetinaNet-R34."""

_base_ = ["../_base_/digits_prompt.py"]
prompt = dict(
    teacher="configs/_base_/models/retinanet_r34_digits.py",
    teacher_checkpoint="work_dirs/digits/teacher/latest.pth",
)
work_dir = "work_dirs/digits/prompts"
