"""UFD-KD: with KD, MLP-Mixer-B -> MobileNetV2 on CIFAR-100, the student's map enlarged by 2."""

_base_ = ["../_base_/pairs/mixer_base_mobilenetv2_cifar100.py"]
pair = dict(losses=dict(kd=dict(tau=1.0, alpha=0.5), ufdkd=dict(
    student_dims=1280, teacher_dims=768, query_hw=(14, 14), pos_hw=(14, 14), num_heads=32,
    upsample=2, alpha=(0.03, 0.035, 0.003, 0.0045),
)))  # fmt: skip
