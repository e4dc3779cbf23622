"""Swin-L -> MobileNetV2 on ImageNet, 300 epochs of Lamb, smoothed labels.

mmcls 0.25 has no MobileNetV1, the paper's student; V2 is the nearest.
"""

_base_ = ["../datasets/imagenet.py", "../schedules/imagenet_lamb_300e.py", "../default_runtime.py"]
pair = dict(
    teacher="mmcls::swin_transformer/swin-large_16xb64_in1k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmclassification/v0/swin-transformer/convert/swin_large_patch4_window7_224_22kto1k-5f0996db.pth",  # noqa: E501
    student=dict(
        config="mmcls::mobilenet_v2/mobilenet-v2_8xb32_in1k.py",
        head=dict(loss=dict(_delete_=True, type="LabelSmoothLoss", label_smooth_val=0.1)),
    ),
)
data = dict(samples_per_gpu=256)
optimizer = dict(lr=2e-3, weight_decay=4e-3)
