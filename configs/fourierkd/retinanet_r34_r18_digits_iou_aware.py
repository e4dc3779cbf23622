"""FourierKD's two losses together on the bundled task, as its paper trains detectors."""

_base_ = ["../_base_/pairs/retinanet_r34_r18_digits.py"]
pair = dict(
    losses=dict(
        fourierkd=dict(loss_weight=60.0),
        iou_aware=dict(loss_weight=20.0),
    )
)
