"""The peer to beat on the bundled task: MMRazor's ChannelWiseDivergence on the same neck."""

_base_ = ["../_base_/pairs/retinanet_r34_r18_digits.py"]
pair = dict(
    losses=dict(
        cwd=dict(
            align_module=dict(type="conv2d", student_channels=64, teacher_channels=64),
            loss_weight=100.0,
        )
    )
)
