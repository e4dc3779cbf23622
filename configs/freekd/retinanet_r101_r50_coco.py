"""RetinaNet R101 -> R50: 37.4 -> 39.9 AP in the paper."""

_base_ = ["../_base_/pairs/retinanet_r101_r50_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(prompts="work_dirs/prompt/retinanet_r101_coco/prompts.pth", loss_weight=1.0),
        mimic=dict(loss_weight=5.0),
        regression=dict(module="bbox_head.retina_reg", loss_weight=1.0),
    ),
)
