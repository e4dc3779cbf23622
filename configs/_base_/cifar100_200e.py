"""CIFAR-100 in 32 pixels: 200 epochs of SGD, 128 images a step."""

_base_ = [
    "datasets/cifar100.py",
    "schedules/cifar100_200e.py",
    "default_runtime.py",
]
