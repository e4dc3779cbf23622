"""RetinaNet PVTv2-B2 -> R50: who teaches whom, on which data, for how long."""

_base_ = ["../coco_2x.py"]
pair = dict(
    teacher="mmdet::pvt/retinanet_pvtv2-b2_fpn_1x_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/pvt/retinanet_pvtv2-b2_fpn_1x_coco/retinanet_pvtv2-b2_fpn_1x_coco_20210901_174843-529f0b9a.pth",  # noqa: E501
    student="mmdet::retinanet/retinanet_r50_fpn_2x_coco.py",
)
optimizer = dict(lr=0.01)
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=35, norm_type=2))
