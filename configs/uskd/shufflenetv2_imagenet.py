"""USKD: ShuffleNetV2 1.0 teaches itself, on ImageNet."""

_base_ = ["../_base_/pairs/shufflenetv2_imagenet.py"]
pair = dict(losses=dict(uskd=dict(alpha=1.0, beta=0.1, mu=0.005)))
