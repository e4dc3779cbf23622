"""ResNet-50 -> MobileNetV2 on ImageNet: mmcls 0.25 has no MobileNetV1, the papers' student."""

_base_ = ["../imagenet_100e.py"]
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=5.0))
pair = dict(
    teacher="mmcls::resnet/resnet50_8xb32_in1k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth",  # noqa: E501
    student="mmcls::mobilenet_v2/mobilenet-v2_8xb32_in1k.py",
)
