"""Teacher on CIFAR-100 in 32 pixels: ResNet-34, 200 epochs."""

_base_ = ["../_base_/models/resnet34_cifar100_32.py", "../_base_/cifar100_200e.py"]
