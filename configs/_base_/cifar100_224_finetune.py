"""CIFAR-100 in 224 pixels: a teacher with ImageNet's weights, 30 epochs, 8 x 64 images a step."""

_base_ = [
    "datasets/cifar100_224.py",
    "schedules/cifar100_finetune.py",
    "default_runtime.py",
]
data = dict(samples_per_gpu=64)
