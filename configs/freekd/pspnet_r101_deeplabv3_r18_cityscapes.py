"""PSPNet R101 -> DeepLabV3 R18: 73.20 -> 76.45 mIoU in the paper, on the predicted maps."""

_base_ = ["../_base_/pairs/pspnet_r101_deeplabv3_r18_cityscapes.py"]
pair = dict(
    losses=dict(
        freekd=dict(prompts="work_dirs/prompt/pspnet_r101_cityscapes/prompts.pth", loss_weight=1.0),
    ),
)
