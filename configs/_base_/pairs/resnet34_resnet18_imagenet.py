"""ResNet-34 -> ResNet-18 on ImageNet."""

_base_ = ["../imagenet_100e.py"]
pair = dict(
    teacher="mmcls::resnet/resnet34_8xb32_in1k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmclassification/v0/resnet/resnet34_8xb32_in1k_20210831-f257d4e6.pth",  # noqa: E501
    student="mmcls::resnet/resnet18_8xb32_in1k.py",
)
