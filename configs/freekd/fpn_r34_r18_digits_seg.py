"""FreeKD on the bundled segmentation task, on the predicted maps."""

_base_ = ["../_base_/pairs/fpn_r34_r18_digits_seg.py"]
pair = dict(
    losses=dict(
        freekd=dict(prompts="work_dirs/prompt/fpn_r34_digits_seg/prompts.pth", loss_weight=1.0)
    )
)
