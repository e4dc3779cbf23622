"""ResNet-18 for CIFAR-100 in 224 pixels."""

model = dict(
    config="mmcls::resnet/resnet18_8xb32_in1k.py",
    head=dict(num_classes=100, topk=(1, 5)),
)
