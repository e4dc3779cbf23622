"""PSPNet R101 -> DeepLabV3 R18: who teaches whom, on which data, for how long."""

_base_ = ["../cityscapes_40k.py"]
pair = dict(
    teacher="mmseg::pspnet/pspnet_r101-d8_512x1024_40k_cityscapes.py",
    teacher_checkpoint="https://download.openmmlab.com/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x1024_40k_cityscapes/pspnet_r101-d8_512x1024_40k_cityscapes_20200604_232751-467e7cf4.pth",  # noqa: E501
    student="mmseg::deeplabv3/deeplabv3_r18-d8_512x1024_80k_cityscapes.py",
)
