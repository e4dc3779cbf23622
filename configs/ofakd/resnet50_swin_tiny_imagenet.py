"""OFA-KD: ResNet-50 -> Swin-T on ImageNet, a student without a class token."""

_base_ = ["../_base_/pairs/resnet50_swin_tiny_imagenet.py"]
pair = dict(losses=dict(ofakd=dict(eps=1.0)))
