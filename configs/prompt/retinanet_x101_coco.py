"""Stage 1: prompts of RetinaNet X101-64x4d (41.0 AP)."""

_base_ = ["../_base_/coco_prompt.py"]
prompt = dict(
    teacher="mmdet::retinanet/retinanet_x101_64x4d_fpn_2x_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_x101_64x4d_fpn_2x_coco/retinanet_x101_64x4d_fpn_2x_coco_20200131-bca068ab.pth",  # noqa: E501
)
