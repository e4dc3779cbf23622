"""PSPNet R101 -> PSPNet R18: 69.85 -> 74.86 mIoU published, on the last backbone stage."""

_base_ = ["../_base_/pairs/pspnet_r101_pspnet_r18_cityscapes_lr0.02.py"]
pair = dict(losses=dict(fourierkd=dict(loss_weight=41.0)))
