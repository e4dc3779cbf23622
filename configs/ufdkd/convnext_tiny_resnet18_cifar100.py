"""UFD-KD: with KD, ConvNeXt-T -> ResNet-18 on CIFAR-100."""

_base_ = ["../_base_/pairs/convnext_tiny_resnet18_cifar100.py"]
pair = dict(losses=dict(kd=dict(tau=1.0, alpha=0.5), ufdkd=dict(
    student_dims=512, teacher_dims=768, query_hw=(7, 7), pos_hw=(7, 7), num_heads=32,
)))  # fmt: skip
