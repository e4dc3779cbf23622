"""Swin-L -> ResNet-50-D on ImageNet, 300 epochs of Lamb: a head of sigmoids, Mixup and CutMix."""

_base_ = ["../imagenet_lamb_300e.py"]
pair = dict(
    teacher="mmcls::swin_transformer/swin-large_16xb64_in1k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmclassification/v0/swin-transformer/convert/swin_large_patch4_window7_224_22kto1k-5f0996db.pth",  # noqa: E501
    student=dict(
        config="mmcls::resnet/resnet50_8xb256-rsb-a2-300e_in1k.py",
        backbone=dict(type="ResNetV1d"),
    ),
)
