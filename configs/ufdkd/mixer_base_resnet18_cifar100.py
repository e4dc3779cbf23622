"""UFD-KD: with KD, MLP-Mixer-B -> ResNet-18 on CIFAR-100, the teacher's map pooled to 7x7."""

_base_ = ["../_base_/pairs/mixer_base_resnet18_cifar100.py"]
pair = dict(losses=dict(kd=dict(tau=1.0, alpha=0.5), ufdkd=dict(
    student_dims=512, teacher_dims=768, query_hw=(7, 7), pos_hw=(7, 7), num_heads=32,
    teacher_pool=(7, 7),
)))  # fmt: skip
