"""DeiT-T for CIFAR-100 in 224 pixels, a student: no Mixup."""

model = dict(
    config="mmcls::deit/deit-tiny_pt-4xb256_in1k.py",
    train_cfg=None,
    head=dict(num_classes=100),
)
