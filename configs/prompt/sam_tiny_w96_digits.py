"""Stage 1 on the bundled set: prompts of the small teacher's image embedding."""

_base_ = ["../_base_/digits_sam_prompt.py"]
prompt = dict(
    teacher="configs/_base_/models/sam_tiny_w96.py",
    teacher_checkpoint="work_dirs/teacher/sam_tiny_w96_digits/latest.pth",
    module="image_encoder",
    channels=64,
    num_levels=1,
    min_share=1.0,  # the file must have all weights
)
