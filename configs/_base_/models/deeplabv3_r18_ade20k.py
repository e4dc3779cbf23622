"""DeepLabV3 R18 of 150 classes: mmseg has one of Cityscapes' 19 alone."""

model = dict(
    config="mmseg::deeplabv3/deeplabv3_r18-d8_512x1024_80k_cityscapes.py",
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)
