"""Stage 1: prompts of PSPNet R101 (78.34 mIoU), on its predicted maps."""

_base_ = ["../_base_/cityscapes_prompt.py"]
prompt = dict(
    teacher="mmseg::pspnet/pspnet_r101-d8_512x1024_40k_cityscapes.py",
    teacher_checkpoint="https://download.openmmlab.com/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x1024_40k_cityscapes/pspnet_r101-d8_512x1024_40k_cityscapes_20200604_232751-467e7cf4.pth",  # noqa: E501
    module="decode_head.conv_seg",
)
