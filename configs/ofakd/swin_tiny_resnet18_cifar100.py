"""OFA-KD: Swin-T -> ResNet-18 on CIFAR-100, with the authors' weight of the stages."""

_base_ = ["../_base_/pairs/swin_tiny_resnet18_cifar100.py"]
pair = dict(losses=dict(ofakd=dict(eps=1.0, stages_weight=0.1)))
