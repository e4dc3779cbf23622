"""The bundled segmentation task: pictures and label maps (tools/make_digits.py --task seg)."""

task = "seg"
data_help = "Make it: python tools/make_digits.py --task seg"
dataset_type = "CustomDataset"
data_root = "data/digits_seg"
classes = ("background", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
crop_size = (48, 48)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomFlip", prob=0.0),  # a mirrored digit is another shape
    dict(type="Normalize", **img_norm_cfg),
    dict(type="DefaultFormatBundle"),
    dict(type="Collect", keys=["img", "gt_semantic_seg"]),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="MultiScaleFlipAug",
        img_scale=crop_size,
        flip=False,
        transforms=[
            dict(type="Resize", keep_ratio=True),
            dict(type="Normalize", **img_norm_cfg),
            dict(type="ImageToTensor", keys=["img"]),
            dict(type="Collect", keys=["img"]),
        ],
    ),
]
common = dict(
    type=dataset_type,
    data_root=data_root,
    classes=classes,
    img_suffix=".png",
    seg_map_suffix=".png",
)
data = dict(
    samples_per_gpu=16,
    workers_per_gpu=0,
    train=dict(img_dir="img/train", ann_dir="ann/train", pipeline=train_pipeline, **common),
    val=dict(img_dir="img/val", ann_dir="ann/val", pipeline=test_pipeline, **common),
    test=dict(img_dir="img/val", ann_dir="ann/val", pipeline=test_pipeline, **common),
)
evaluation = dict(interval=100, metric="mIoU", pre_eval=True)  # and always at the end of a run
