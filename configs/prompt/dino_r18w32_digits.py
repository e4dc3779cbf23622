"""Stage 1 of the DINO pair on the bundled task: prompts on the frozen teacher's encoder."""

_base_ = ["../_base_/digits_prompt.py"]
prompt = dict(
    teacher="configs/_base_/models/dino_r18w32_digits.py",
    teacher_checkpoint="work_dirs/teacher/dino_r18w32_digits/latest.pth",
    module="bbox_head.transformer.encoder",
)
