"""Swin-S -> ResNet-50, 100 epochs: stage 4 in the spatial view alone, no soft labels."""

_base_ = ["../_base_/pairs/swin_small_resnet50_imagenet.py"]
pair = dict(losses=dict(
    scalekd=dict(
        stage3=dict(student_dims=1024, teacher_dims=384, query_hw=14, pos_hw=14, num_heads=3),
        stage4=dict(student_dims=2048, teacher_dims=768, query_hw=7, pos_hw=7, num_heads=6,
                    alpha=(0.08, 0)),
    ),
))  # fmt: skip
