"""The bundled classification task: a folder of pictures for each digit (tools/make_digits.py)."""

task = "cls"
data_help = "Make it: python tools/make_digits.py --task cls"
dataset_type = "CustomDataset"
data_root = "data/digits_cls/"
classes = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomCrop", size=32, padding=2),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="ImageToTensor", keys=["img"]),
    dict(type="ToTensor", keys=["gt_label"]),
    dict(type="Collect", keys=["img", "gt_label"]),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="ImageToTensor", keys=["img"]),
    dict(type="Collect", keys=["img"]),
]
data = dict(
    samples_per_gpu=32,
    workers_per_gpu=0,
    train=dict(
        type=dataset_type,
        classes=classes,
        data_prefix=data_root + "train",
        pipeline=train_pipeline,
    ),
    val=dict(
        type=dataset_type,
        classes=classes,
        data_prefix=data_root + "val",
        pipeline=test_pipeline,
    ),
    test=dict(
        type=dataset_type,
        classes=classes,
        data_prefix=data_root + "val",
        pipeline=test_pipeline,
    ),
)
evaluation = dict(interval=100, metric="accuracy", metric_options=dict(topk=(1,)))
