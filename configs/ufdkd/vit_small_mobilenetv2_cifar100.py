"""UFD-KD: with KD, ViT-S -> MobileNetV2 on CIFAR-100, the teacher's map pooled to 7x7."""

_base_ = ["../_base_/pairs/vit_small_mobilenetv2_cifar100.py"]
pair = dict(losses=dict(kd=dict(tau=1.0, alpha=0.5), ufdkd=dict(
    student_dims=1280, teacher_dims=384, query_hw=(7, 7), pos_hw=(14, 14), num_heads=32,
    upsample=2, teacher_pool=(7, 7),
)))  # fmt: skip
