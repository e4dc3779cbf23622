"""RepPoints R50 -> RetinaNet R18: who teaches whom, on which data, for how long."""

_base_ = ["../coco_1x.py"]
pair = dict(
    teacher="mmdet::reppoints/reppoints_moment_r50_fpn_gn-neck+head_2x_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/reppoints/reppoints_moment_r50_fpn_gn-neck%2Bhead_2x_coco/reppoints_moment_r50_fpn_gn-neck%2Bhead_2x_coco_20200329-91babaa2.pth",  # noqa: E501
    student="mmdet::retinanet/retinanet_r18_fpn_1x_coco.py",
)
optimizer = dict(lr=0.01)
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=35, norm_type=2))
