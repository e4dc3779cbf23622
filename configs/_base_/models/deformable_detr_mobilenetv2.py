"""Deformable DETR on a MobileNetV2: the outputs of strides 8, 16 and 32."""

model = dict(
    config="mmdet::deformable_detr/deformable_detr_r50_16x2_50e_coco.py",
    backbone=dict(
        _delete_=True,
        type="MobileNetV2",
        out_indices=(2, 4, 7),
        frozen_stages=1,
        norm_eval=True,
        norm_cfg=dict(type="BN", requires_grad=False),
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://mmdet/mobilenet_v2"),
    ),
    neck=dict(in_channels=[32, 96, 1280]),
)
