"""FCOS R101 -> R50: who teaches whom, on which data, for how long."""

_base_ = ["../coco_fcos_2x.py"]
pair = dict(
    teacher="mmdet::fcos/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/fcos/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco-511424d6.pth",  # noqa: E501
    student="mmdet::fcos/fcos_r50_caffe_fpn_gn-head_mstrain_640-800_2x_coco.py",
)
