"""DeiT-T -> ResNet-18 on ImageNet; 8 x 64 images a step, the labels smoothed by 0.1."""

_base_ = ["../imagenet_100e.py"]
data = dict(samples_per_gpu=64)
lr_config = dict(warmup="linear", warmup_iters=3, warmup_by_epoch=True)
pair = dict(
    teacher="mmcls::deit/deit-tiny_pt-4xb256_in1k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmclassification/v0/deit/deit-tiny_pt-4xb256_in1k_20220218-13b382a0.pth",  # noqa: E501
    student=dict(
        config="mmcls::resnet/resnet18_8xb32_in1k.py",
        head=dict(loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original")),
    ),
)
