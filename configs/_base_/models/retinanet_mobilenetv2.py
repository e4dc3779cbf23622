"""RetinaNet on a MobileNetV2: the last outputs of strides 4, 8, 16 and 32, as mmdet's default."""

model = dict(
    config="mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
    backbone=dict(
        _delete_=True,
        type="MobileNetV2",
        out_indices=(1, 2, 4, 7),
        frozen_stages=1,
        norm_eval=True,
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://mmdet/mobilenet_v2"),
    ),
    neck=dict(in_channels=[24, 32, 96, 1280]),
)
