"""RetinaNet X101-64x4d -> R50: 37.4 -> 41.0 AP in the paper."""

_base_ = ["../_base_/pairs/retinanet_x101_r50_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(prompts="work_dirs/prompt/retinanet_x101_coco/prompts.pth", loss_weight=1.0),
        mimic=dict(loss_weight=5.0),
        regression=dict(module="bbox_head.retina_reg", loss_weight=1.0),
    ),
    inherit=["neck", "bbox_head"],
)
