"""Stage 2b on the bundled set: the mask decoder learns with the encoder of stage 2a."""

_base_ = ["../_base_/models/sam_tiny_w24.py", "../_base_/digits_sam.py"]
model = dict(
    frozen=["image_encoder", "prompt_encoder"],
    checkpoint="work_dirs/freekd/sam_tiny_w96_w24_digits_encoder/latest.pth",
)
