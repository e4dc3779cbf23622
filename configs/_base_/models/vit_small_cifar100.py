"""ViT-S (DeiT's) for CIFAR-100 in 224 pixels, from ImageNet's weights; no Mixup."""

model = dict(
    config="mmcls::deit/deit-small_pt-4xb256_in1k.py",
    backbone=dict(
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://download.openmmlab.com/mmclassification/v0/deit/deit-small_pt-4xb256_in1k_20220218-9425b9bb.pth",  # noqa: E501
            prefix="backbone.",
        ),
    ),
    train_cfg=None,
    head=dict(num_classes=100),
)
