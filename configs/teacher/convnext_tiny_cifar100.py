"""Teacher on CIFAR-100: ConvNeXt-T, 30 epochs from ImageNet's weights; no paper says how long."""

_base_ = ["../_base_/models/convnext_tiny_cifar100.py", "../_base_/cifar100_224_finetune.py"]
