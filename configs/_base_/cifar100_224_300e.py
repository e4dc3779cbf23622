"""CIFAR-100 in 224 pixels: 300 epochs of SGD, 8 x 128 images a step."""

_base_ = [
    "datasets/cifar100_224.py",
    "schedules/cifar100_300e.py",
    "default_runtime.py",
]
