"""FreeKD on the scenes: prompts as published, standardised maps, moved over Haar's grid."""

_base_ = ["../_base_/pairs/retinanet_r18w32_r18w8_scenes.py"]
pair = dict(
    losses=dict(
        freekd=dict(
            prompts="work_dirs/scenes/prompts/prompts.pth",
            align="conv1x1",
            normalize="channel",
            distance="l2",
            shift=True,
            loss_weight=2.0,
        )
    )
)
