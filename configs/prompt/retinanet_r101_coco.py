"""Stage 1: prompts of RetinaNet R101 (38.9 AP)."""

_base_ = ["../_base_/coco_prompt.py"]
prompt = dict(
    teacher="mmdet::retinanet/retinanet_r101_fpn_2x_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_r101_fpn_2x_coco/retinanet_r101_fpn_2x_coco_20200131-5560aee8.pth",  # noqa: E501
)
