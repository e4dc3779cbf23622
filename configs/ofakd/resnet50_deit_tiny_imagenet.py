"""OFA-KD: ResNet-50 -> DeiT-T on ImageNet, a student of tokens."""

_base_ = ["../_base_/pairs/resnet50_deit_tiny_imagenet.py"]
pair = dict(losses=dict(ofakd=dict(eps=1.0)))
