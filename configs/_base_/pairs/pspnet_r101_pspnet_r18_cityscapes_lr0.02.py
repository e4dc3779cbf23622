"""PSPNet R101 -> PSPNet R18 at twice the stock rate, gradients clipped at norm 35."""

_base_ = ["pspnet_r101_pspnet_r18_cityscapes.py"]
optimizer = dict(lr=0.02)
optimizer_config = dict(grad_clip=dict(max_norm=35, norm_type=2))
