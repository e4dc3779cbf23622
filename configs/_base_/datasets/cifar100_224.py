"""CIFAR-100 enlarged to 224 pixels, for models of ImageNet's size."""

_base_ = ["cifar100.py"]
img_norm_cfg = dict(mean=[129.304, 124.070, 112.434], std=[68.170, 65.392, 70.418], to_rgb=False)
data = dict(
    train=dict(
        pipeline=[
            dict(type="RandomCrop", size=32, padding=4),
            dict(type="RandomFlip", flip_prob=0.5, direction="horizontal"),
            dict(type="Resize", size=(224, 224), interpolation="bicubic"),
            dict(type="Normalize", **img_norm_cfg),
            dict(type="ImageToTensor", keys=["img"]),
            dict(type="ToTensor", keys=["gt_label"]),
            dict(type="Collect", keys=["img", "gt_label"]),
        ]
    ),
    **{
        split: dict(
            pipeline=[
                dict(type="Resize", size=(224, 224), interpolation="bicubic"),
                dict(type="Normalize", **img_norm_cfg),
                dict(type="ImageToTensor", keys=["img"]),
                dict(type="Collect", keys=["img"]),
            ]
        )
        for split in ("val", "test")
    },
)
