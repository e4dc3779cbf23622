"""Swin-L -> DeiT-B, 300 epochs of AdamW; stage 3 is what block 9 of 12 gives."""

_base_ = ["../_base_/pairs/swin_large_deit_base_imagenet.py"]
pair = dict(losses=dict(
    scalekd=dict(
        stage3=dict(student_dims=768, teacher_dims=768, query_hw=14, pos_hw=14, num_heads=8),
        stage4=dict(student_dims=768, teacher_dims=1536, query_hw=7, pos_hw=14, num_heads=8),
    ),
    kd=dict(tau=1.0, alpha=0.5),
))  # fmt: skip
