"""Teacher on CIFAR-100: ResNet-50, 30 epochs from ImageNet's weights; no paper says how long."""

_base_ = ["../_base_/models/resnet50_cifar100.py", "../_base_/cifar100_224_finetune.py"]
