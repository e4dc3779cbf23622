"""ScaleKD on the bundled classification task: the tail of a ResNet teacher is its layer4."""

_base_ = ["../_base_/pairs/resnet34_resnet18_digits_cls.py"]
pair = dict(losses=dict(
    scalekd=dict(
        tail=["backbone.layer4"],
        tail_maps=True,
        loss_weight=1.0,
        module=dict(s3="backbone.layer3", s4="backbone.layer4"),
    ),
))  # fmt: skip
