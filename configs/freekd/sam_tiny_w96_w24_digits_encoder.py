"""FreeKD on the bundled set, stage 2a: the bands of the image embedding."""

_base_ = ["../_base_/pairs/sam_tiny_w96_w24_digits_encoder.py"]
pair = dict(
    losses=dict(
        freekd=dict(
            prompts="work_dirs/prompt/sam_tiny_w96_digits/prompts.pth", align=None, loss_weight=1.0
        )
    )
)
