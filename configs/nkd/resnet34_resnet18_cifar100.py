"""NKD: ResNet-34 -> ResNet-18 on CIFAR-100."""

_base_ = ["../_base_/pairs/resnet34_resnet18_cifar100.py"]
pair = dict(losses=dict(nkd=dict(tau=3.0, gamma=3.5)))
