"""The bundled task: handwritten digits on photographs, COCO format (tools/make_digits.py)."""

task = "det"
data_help = "Make it: python tools/make_digits.py"
dataset_type = "CocoDataset"
data_root = "data/digits/"
classes = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", img_scale=(128, 128), keep_ratio=True),
    dict(type="RandomFlip", flip_ratio=0.0),  # a mirrored digit is another shape
    dict(type="Normalize", **img_norm_cfg),
    dict(type="Pad", size_divisor=32),
    dict(type="DefaultFormatBundle"),
    dict(type="Collect", keys=["img", "gt_bboxes", "gt_labels"]),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="MultiScaleFlipAug",
        img_scale=(128, 128),
        flip=False,
        transforms=[
            dict(type="Resize", keep_ratio=True),
            dict(type="Normalize", **img_norm_cfg),
            dict(type="Pad", size_divisor=32),
            dict(type="ImageToTensor", keys=["img"]),
            dict(type="Collect", keys=["img"]),
        ],
    ),
]
data = dict(
    samples_per_gpu=8,
    workers_per_gpu=0,
    train=dict(
        type=dataset_type,
        classes=classes,
        ann_file=data_root + "annotations/train.json",
        img_prefix=data_root + "train/",
        pipeline=train_pipeline,
    ),
    val=dict(
        type=dataset_type,
        classes=classes,
        ann_file=data_root + "annotations/val.json",
        img_prefix=data_root + "val/",
        pipeline=test_pipeline,
    ),
    test=dict(
        type=dataset_type,
        classes=classes,
        ann_file=data_root + "annotations/val.json",
        img_prefix=data_root + "val/",
        pipeline=test_pipeline,
    ),
    val_dataloader=dict(samples_per_gpu=10),
    test_dataloader=dict(samples_per_gpu=10),
)
evaluation = dict(interval=100, metric="bbox")  # and always at the end of a run
