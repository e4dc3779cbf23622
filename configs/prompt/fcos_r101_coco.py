"""Stage 1: prompts of FCOS R101 (40.8 AP)."""

_base_ = ["../_base_/coco_fcos_prompt.py"]
prompt = dict(
    teacher="mmdet::fcos/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/fcos/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco-511424d6.pth",  # noqa: E501
)
