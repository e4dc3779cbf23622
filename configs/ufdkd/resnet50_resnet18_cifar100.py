"""UFD-KD: ResNet-50 -> ResNet-18 on CIFAR-100, without KD."""

_base_ = ["../_base_/pairs/resnet50_resnet18_cifar100.py"]
pair = dict(losses=dict(ufdkd=dict(
    student_dims=512, teacher_dims=2048, query_hw=(7, 7), pos_hw=(7, 7), num_heads=32,
)))  # fmt: skip
