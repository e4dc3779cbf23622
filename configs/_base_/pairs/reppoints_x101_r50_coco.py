"""RepPoints X101-DCN -> R50: who teaches whom, on which data, for how long."""

_base_ = ["../coco_2x.py"]
pair = dict(
    teacher="mmdet::reppoints/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck+head_2x_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/reppoints/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck%2Bhead_2x_coco/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck%2Bhead_2x_coco_20200329-f87da1ea.pth",  # noqa: E501
    student="mmdet::reppoints/reppoints_moment_r50_fpn_gn-neck+head_2x_coco.py",
)
optimizer = dict(lr=0.01)
