"""PSPNet R101 -> PSPNet R18: 69.85 -> 74.40 mIoU in the paper, on the predicted maps."""

_base_ = ["../_base_/pairs/pspnet_r101_pspnet_r18_cityscapes.py"]
pair = dict(
    losses=dict(
        freekd=dict(prompts="work_dirs/prompt/pspnet_r101_cityscapes/prompts.pth", loss_weight=1.0),
    ),
)
