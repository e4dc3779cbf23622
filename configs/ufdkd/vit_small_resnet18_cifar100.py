"""UFD-KD: with KD, ViT-S -> ResNet-18 on CIFAR-100, the teacher's map pooled to 7x7."""

_base_ = ["../_base_/pairs/vit_small_resnet18_cifar100.py"]
pair = dict(losses=dict(kd=dict(tau=1.0, alpha=0.5), ufdkd=dict(
    student_dims=512, teacher_dims=384, query_hw=(7, 7), pos_hw=(7, 7), num_heads=32,
    teacher_pool=(7, 7),
)))  # fmt: skip
