"""FCOS R101 -> R50: 38.5 -> 42.9 AP in the paper."""

_base_ = ["../_base_/coco_fcos_2x.py"]
pair = dict(
    teacher="mmdet::fcos/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/fcos/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco-511424d6.pth",  # noqa: E501
    student="mmdet::fcos/fcos_r50_caffe_fpn_gn-head_mstrain_640-800_2x_coco.py",
    prompts="work_dirs/prompt/fcos_r101_coco/prompts.pth",
    freekd=dict(loss_weight=5.0),
    mse=dict(loss_weight=10.0),
    inherit=["neck", "bbox_head"],
)
