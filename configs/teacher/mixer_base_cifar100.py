"""Teacher on CIFAR-100: MLP-Mixer-B, 30 epochs from ImageNet's weights; no paper says how long."""

_base_ = ["../_base_/models/mixer_base_cifar100.py", "../_base_/cifar100_224_finetune.py"]
