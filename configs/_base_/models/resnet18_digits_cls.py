"""A narrow ResNet-18 for pictures of 32 pixels, 8 channels wide at first: 176 thousand weights."""

model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="ResNet_CIFAR",
        depth=18,
        stem_channels=8,
        base_channels=8,
        num_stages=4,
        out_indices=(3,),
        style="pytorch",
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=64,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1,),
    ),
)
