"""FreeKD on the bundled segmentation task: predicted maps, standardised, squared difference."""

_base_ = ["../_base_/pairs/fpn_r34_r18_digits_seg.py"]
pair = dict(
    losses=dict(
        freekd=dict(
            prompts="work_dirs/prompt/fpn_r34_digits_seg/prompts.pth",
            normalize="channel",
            distance="l2",
            loss_weight=2.0,
        )
    )
)
