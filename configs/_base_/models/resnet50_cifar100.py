"""ResNet-50 for CIFAR-100 in 224 pixels, from ImageNet's weights."""

model = dict(
    config="mmcls::resnet/resnet50_8xb32_in1k.py",
    backbone=dict(
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth",  # noqa: E501
            prefix="backbone.",
        ),
    ),
    head=dict(num_classes=100),
)
