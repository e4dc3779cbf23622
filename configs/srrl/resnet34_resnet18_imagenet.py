"""SRRL: ResNet-34 -> ResNet-18 on ImageNet."""

_base_ = ["../_base_/pairs/resnet34_resnet18_imagenet.py"]
pair = dict(losses=dict(srrl=dict(alpha=1.0, beta=1.0)))
