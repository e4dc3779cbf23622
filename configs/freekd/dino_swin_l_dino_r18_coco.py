"""DINO Swin-L -> R18: 45.1 -> 47.3 AP in the paper (12 epochs)."""

_base_ = ["../_base_/pairs/dino_swin_l_dino_r18_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(prompts="work_dirs/prompt/dino_swin_l_coco/prompts.pth", loss_weight=1.0),
    ),
)
