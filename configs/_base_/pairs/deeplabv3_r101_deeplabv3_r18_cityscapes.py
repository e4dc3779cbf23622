"""DeepLabV3 R101 -> DeepLabV3 R18 at twice the stock rate: who teaches whom, for how long."""

_base_ = ["../cityscapes_40k.py"]
optimizer = dict(lr=0.02)
pair = dict(
    teacher="mmseg::deeplabv3/deeplabv3_r101-d8_512x1024_40k_cityscapes.py",
    teacher_checkpoint="https://download.openmmlab.com/mmsegmentation/v0.5/deeplabv3/deeplabv3_r101-d8_512x1024_40k_cityscapes/deeplabv3_r101-d8_512x1024_40k_cityscapes_20200605_012241-7fd3f799.pth",  # noqa: E501
    student="mmseg::deeplabv3/deeplabv3_r18-d8_512x1024_80k_cityscapes.py",
)
