"""USKD: MobileNetV2 teaches itself, on ImageNet."""

_base_ = ["../_base_/pairs/mobilenetv2_imagenet.py"]
pair = dict(losses=dict(uskd=dict(alpha=1.0, beta=0.1, mu=0.005)))
