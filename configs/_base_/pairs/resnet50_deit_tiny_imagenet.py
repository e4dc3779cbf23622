"""ResNet-50 -> DeiT-T on ImageNet."""

_base_ = ["../imagenet_vit_300e.py"]
pair = dict(
    teacher="mmcls::resnet/resnet50_8xb32_in1k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth",  # noqa: E501
    student="mmcls::deit/deit-tiny_pt-4xb256_in1k.py",
)
