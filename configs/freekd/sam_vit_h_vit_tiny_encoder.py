"""FreeKD of SAM ViT-H -> ViT-Tiny, stage 2a: the bands of the image embedding."""

_base_ = ["../_base_/pairs/sam_vit_h_vit_tiny_encoder.py"]
pair = dict(
    losses=dict(
        freekd=dict(prompts="work_dirs/prompt/sam_vit_h/prompts.pth", align=None, loss_weight=1.0)
    )
)
