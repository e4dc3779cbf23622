"""DeepLabV3 R101 -> DeepLabV3 MobileNetV2 on ADE20K, at twice the stock rate."""

_base_ = ["../ade20k_40k.py"]
optimizer = dict(lr=0.02)
pair = dict(
    teacher="mmseg::deeplabv3/deeplabv3_r101-d8_512x512_160k_ade20k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmsegmentation/v0.5/deeplabv3/deeplabv3_r101-d8_512x512_160k_ade20k/deeplabv3_r101-d8_512x512_160k_ade20k_20200615_105816-b1f72b3b.pth",  # noqa: E501
    student="mmseg::mobilenet_v2/deeplabv3_m-v2-d8_512x512_160k_ade20k.py",
)
