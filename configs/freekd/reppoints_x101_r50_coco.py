"""RepPoints X101-DCN -> R50: 38.6 -> 42.4 AP in the paper."""

_base_ = ["../_base_/coco_2x.py"]
pair = dict(
    teacher="mmdet::reppoints/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck+head_2x_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/reppoints/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck%2Bhead_2x_coco/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck%2Bhead_2x_coco_20200329-f87da1ea.pth",  # noqa: E501
    student="mmdet::reppoints/reppoints_moment_r50_fpn_gn-neck+head_2x_coco.py",
    prompts="work_dirs/prompt/reppoints_x101_coco/prompts.pth",
    freekd=dict(loss_weight=1.0),
    regression=[
        dict(module="bbox_head.reppoints_pts_refine_out", beta=0.11, loss_weight=0.2),
        dict(module="bbox_head.reppoints_pts_init_out", beta=0.11, loss_weight=0.1),
    ],
)
optimizer = dict(lr=0.01)
