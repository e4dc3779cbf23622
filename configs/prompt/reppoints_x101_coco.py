"""Stage 1: prompts of RepPoints X101-DCN (44.2 AP)."""

_base_ = ["../_base_/coco_prompt.py"]
prompt = dict(
    teacher="mmdet::reppoints/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck+head_2x_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/reppoints/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck%2Bhead_2x_coco/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck%2Bhead_2x_coco_20200329-f87da1ea.pth",  # noqa: E501
)
