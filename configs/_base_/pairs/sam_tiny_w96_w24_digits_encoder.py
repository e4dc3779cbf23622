"""A small SAM -> a smaller one on the bundled set, stage 2a: the image embedding."""

_base_ = ["../digits_sam_images.py"]
baseline = "configs/baseline/sam_tiny_w24_digits.py"
pair = dict(
    teacher="configs/_base_/models/sam_tiny_w96.py",
    teacher_checkpoint="work_dirs/teacher/sam_tiny_w96_digits/latest.pth",
    student=dict(
        config="configs/_base_/models/sam_tiny_w24.py",
        mask_loss=False,
        frozen=["prompt_encoder", "mask_decoder"],
    ),
    module="image_encoder",
    channels=64,
    student_channels=64,
    num_levels=1,
    inherit=["prompt_encoder", "mask_decoder"],
    min_share=1.0,  # the file must have all weights
)
