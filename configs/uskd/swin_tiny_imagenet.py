"""USKD: Swin-T teaches itself, on ImageNet."""

_base_ = ["../_base_/pairs/swin_tiny_imagenet.py"]
pair = dict(losses=dict(uskd=dict(alpha=1.0, beta=0.1, mu=0.005)))
