"""Tiny models to distill: a RetinaNet teacher and student, a segmentor."""

import copy
import importlib

from freekd.held import with_held

CHANNELS = 8
NUM_LEVELS = 3


def detector(channels=CHANNELS, base_channels=4, depth=18):
    """A stock RetinaNet config, small enough for a test."""
    norm = dict(type="GN", num_groups=2, requires_grad=True)
    return dict(
        type="mmdet.RetinaNet",
        backbone=dict(
            type="ResNet", depth=depth, base_channels=base_channels, num_stages=4,
            out_indices=(0, 1, 2, 3), frozen_stages=-1, norm_eval=False,
            norm_cfg=dict(type="BN", requires_grad=True), style="pytorch",
        ),
        neck=dict(
            type="FPN", in_channels=[base_channels * 2**i for i in range(4)],
            out_channels=channels, start_level=1, num_outs=NUM_LEVELS,
        ),
        bbox_head=dict(
            type="RetinaHead", num_classes=3, in_channels=channels, stacked_convs=1,
            feat_channels=channels, norm_cfg=norm,
            anchor_generator=dict(
                type="AnchorGenerator", octave_base_scale=3, scales_per_octave=1, ratios=[1.0],
                strides=[8, 16, 32],
            ),
            bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
            loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25),
            loss_bbox=dict(type="L1Loss"),
        ),
        train_cfg=dict(
            assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
            allowed_border=-1, pos_weight=-1, debug=False,
        ),
        test_cfg=dict(
            nms_pre=100, min_bbox_size=0, score_thr=0.0, max_per_img=10,
            nms=dict(type="nms", iou_threshold=0.5),
        ),
    )  # fmt: skip


def segmentor():
    """A stock FCN config, small enough for a test."""
    return dict(
        type="mmseg.EncoderDecoder",
        backbone=dict(
            type="ResNetV1c", depth=18, base_channels=4, num_stages=4, out_indices=(0, 1, 2, 3),
            norm_cfg=dict(type="BN", requires_grad=True),
        ),
        decode_head=dict(
            type="FCNHead", in_channels=32, in_index=3, channels=8, num_convs=1, num_classes=5,
            dropout_ratio=0.1, norm_cfg=dict(type="BN", requires_grad=True),
            loss_decode=dict(type="CrossEntropyLoss"),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    )  # fmt: skip


def build(cfg):
    for name in ("freekd.models", "mmdet.models", "mmseg.models"):  # in this order
        importlib.import_module(name)
    from mmrazor.models.builder import MODELS

    from freekd.zoo.stock import read_model

    model = MODELS.build(read_model(copy.deepcopy(cfg), "model"))
    for module in (module for root in with_held(model) for module in root.modules()):
        if "level_embeds" in module._parameters:  # Deformable DETR leaves it as the memory was
            module.level_embeds.data.zero_()
    return model


def prompt_teacher(**kwargs):
    cfg = dict(
        type="FrequencyPromptTeacher", model=detector(), channels=CHANNELS, num_levels=NUM_LEVELS
    )
    return {**cfg, **kwargs}


def freekd_loss(**kwargs):
    cfg = dict(
        type="FreeKDLoss", name="loss_freekd", student_channels=CHANNELS,
        teacher_channels=CHANNELS, num_levels=NUM_LEVELS,
    )  # fmt: skip
    return {**cfg, **kwargs}


def distiller(losses, module="neck", **kwargs):
    component = dict(student_module=module, teacher_module=module, losses=losses)
    return {
        **dict(type="FreeKDDistiller", teacher=detector(base_channels=8), components=[component]),
        **kwargs,
    }


def distill(losses, **kwargs):
    return dict(
        type="FreeKDDistill",
        architecture=dict(type="MMDetArchitecture", model=detector()),
        distiller=distiller(losses, **kwargs),
    )


# --------------------------------------------------------------------------- thin stock models
def _thin(base_channels):
    return dict(
        depth=18, base_channels=base_channels, frozen_stages=-1, norm_eval=True, init_cfg=None
    )  # fmt: skip


def _rpn(channels):
    return dict(in_channels=channels, feat_channels=channels)


_PROPOSALS = dict(rpn_proposal=dict(nms_pre=50, max_per_img=20))
_SAMPLER = dict(sampler=dict(num=16))


def faster_rcnn(base_channels=4, channels=CHANNELS, num_classes=3, **bbox_head):
    """Stock Faster R-CNN, with few channels."""
    return dict(
        config="mmdet::faster_rcnn/faster_rcnn_r50_fpn_2x_coco.py",
        backbone=_thin(base_channels),
        neck=dict(in_channels=[base_channels * 2**i for i in range(4)], out_channels=channels),
        rpn_head=_rpn(channels),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=channels),
            bbox_head=dict(
                in_channels=channels, fc_out_channels=16, num_classes=num_classes, **bbox_head
            ),
        ),
        train_cfg=dict(rcnn=_SAMPLER, **_PROPOSALS),
    )


def cascade_mask_rcnn(base_channels=4, channels=CHANNELS, num_classes=3):
    """Stock Cascade Mask R-CNN, with few channels."""
    heads = {
        str(i): dict(in_channels=channels, fc_out_channels=16, num_classes=num_classes)
        for i in range(3)
    }
    return dict(
        config="mmdet::cascade_rcnn/cascade_mask_rcnn_r50_fpn_1x_coco.py",
        backbone=_thin(base_channels),
        neck=dict(in_channels=[base_channels * 2**i for i in range(4)], out_channels=channels),
        rpn_head=_rpn(channels),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=channels),
            bbox_head=heads,
            mask_roi_extractor=dict(out_channels=channels),
            mask_head=dict(in_channels=channels, conv_out_channels=8, num_classes=num_classes),
        ),
        train_cfg=dict(rcnn={str(i): _SAMPLER for i in range(3)}, **_PROPOSALS),
    )


def deformable_detr(base_channels=4):
    """Stock Deformable DETR with two encoder and two decoder layers."""
    return dict(
        config="mmdet::deformable_detr/deformable_detr_r50_16x2_50e_coco.py",
        backbone=_thin(base_channels),
        neck=dict(in_channels=[base_channels * 2**i for i in (1, 2, 3)]),
        bbox_head=dict(
            num_query=10,
            num_classes=3,
            transformer=dict(
                encoder=dict(
                    num_layers=2,
                    transformerlayers=dict(feedforward_channels=32, ffn_dropout=0.0),
                ),
                decoder=dict(num_layers=2),
            ),
        ),
    )


def batch(images=2, size=64, num_classes=3):
    """A training batch of detection, as a model's ``forward(**data)`` takes it."""
    import torch

    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[4.0, 6.0, 40.0, 44.0], [20.0, 16.0, 60.0, 56.0]])
    meta = dict(
        img_shape=(size, size, 3), pad_shape=(size, size, 3), ori_shape=(size, size, 3),
        scale_factor=1.0, flip=False, batch_input_shape=(size, size),
    )  # fmt: skip
    return dict(
        img=torch.randn(images, 3, size, size, generator=generator),
        img_metas=[dict(meta) for _ in range(images)],
        gt_bboxes=[boxes.clone() for _ in range(images)],
        gt_labels=[torch.tensor([0, num_classes - 1]) for _ in range(images)],
    )
