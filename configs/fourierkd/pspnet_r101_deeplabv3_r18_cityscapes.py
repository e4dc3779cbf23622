"""PSPNet R101 -> DeepLabV3 R18: 73.20 -> 77.17 mIoU published, on the last backbone stage."""

_base_ = ["../_base_/pairs/pspnet_r101_deeplabv3_r18_cityscapes_lr0.02.py"]
pair = dict(losses=dict(fourierkd=dict(loss_weight=41.0)))
