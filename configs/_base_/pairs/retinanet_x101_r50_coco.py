"""RetinaNet X101-64x4d -> R50: who teaches whom, on which data, for how long."""

_base_ = ["../coco_2x.py"]
pair = dict(
    teacher="mmdet::retinanet/retinanet_x101_64x4d_fpn_2x_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_x101_64x4d_fpn_2x_coco/retinanet_x101_64x4d_fpn_2x_coco_20200131-bca068ab.pth",  # noqa: E501
    student="mmdet::retinanet/retinanet_r50_fpn_2x_coco.py",
)
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=35, norm_type=2))
