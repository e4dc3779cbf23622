"""ResNet-34 for CIFAR-100 in 32 pixels."""

model = dict(config="mmcls::resnet/resnet34_8xb16_cifar10.py", head=dict(num_classes=100))
