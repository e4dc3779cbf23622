"""Swin-T for CIFAR-100 in 224 pixels, from ImageNet's weights; no Mixup."""

model = dict(
    config="mmcls::swin_transformer/swin-tiny_16xb64_in1k.py",
    backbone=dict(
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://download.openmmlab.com/mmclassification/v0/swin-transformer/swin_tiny_224_b16x64_300e_imagenet_20210616_090925-66df6be6.pth",  # noqa: E501
            prefix="backbone.",
        ),
    ),
    train_cfg=None,
    head=dict(num_classes=100),
)
