"""Cityscapes in crops of 512x512; evaluated on whole images."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmseg::_base_/datasets/cityscapes.py")]
task = "seg"
data_help = "Put Cityscapes (with *labelTrainIds.png) there: ln -s /path/to/cityscapes data/"
crop_size = (512, 512)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="Resize", img_scale=(2048, 1024), ratio_range=(0.5, 2.0)),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(
        type="Normalize",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    dict(type="Pad", size=crop_size, pad_val=0, seg_pad_val=255),
    dict(type="DefaultFormatBundle"),
    dict(type="Collect", keys=["img", "gt_semantic_seg"]),
]
data = dict(train=dict(pipeline=train_pipeline))
