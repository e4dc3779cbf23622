"""NKD: Swin-L -> DeiT-B on ImageNet; Swin-L stands for the paper's DeiT-III-L."""

_base_ = ["../_base_/pairs/swin_large_deit_base_imagenet.py"]
pair = dict(losses=dict(nkd=dict(tau=1.0, gamma=1.0)))
