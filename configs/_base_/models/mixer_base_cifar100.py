"""MLP-Mixer-B for CIFAR-100 in 224 pixels, from ImageNet's weights."""

model = dict(
    config="mmcls::mlp_mixer/mlp-mixer-base-p16_64xb64_in1k.py",
    init_cfg=dict(
        type="Pretrained",
        checkpoint="https://download.openmmlab.com/mmclassification/v0/mlp-mixer/mixer-base-p16_3rdparty_64xb64_in1k_20211124-1377e3e0.pth",  # noqa: E501
    ),
    head=dict(num_classes=100),
)
