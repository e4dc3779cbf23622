"""USKD: ResNet-50 teaches itself, on ImageNet."""

_base_ = ["../_base_/pairs/resnet50_imagenet.py"]
pair = dict(losses=dict(uskd=dict(alpha=1.0, beta=0.1, mu=0.005)))
