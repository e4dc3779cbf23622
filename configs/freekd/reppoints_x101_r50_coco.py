"""RepPoints X101-DCN -> R50: 38.6 -> 42.4 AP in the paper."""

_base_ = ["../_base_/pairs/reppoints_x101_r50_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(prompts="work_dirs/prompt/reppoints_x101_coco/prompts.pth", loss_weight=1.0),
        regression=dict(module="bbox_head.reppoints_pts_refine_out", beta=0.11, loss_weight=0.2),
        regression_init=dict(
            type="regression", module="bbox_head.reppoints_pts_init_out", beta=0.11, loss_weight=0.1
        ),
    ),
)
