"""DINO Swin-L -> R50: 48.4 -> 50.4 AP in the paper (12 epochs)."""

_base_ = ["../_base_/pairs/dino_swin_l_dino_r50_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(prompts="work_dirs/prompt/dino_swin_l_coco/prompts.pth", loss_weight=1.0),
    ),
)
