"""The peer to beat on the bundled task: MMRazor's ChannelWiseDivergence on the same neck."""

_base_ = ["../freekd/retinanet_r34_r18_digits.py"]
pair = dict(
    prompts=None,
    freekd=None,
    components=[
        dict(
            student_module="neck",
            teacher_module="neck",
            align_module=dict(type="conv2d", student_channels=64, teacher_channels=64),
            losses=[dict(type="ChannelWiseDivergence", name="loss_cwd", loss_weight=100.0)],
        )
    ],
)
work_dir = "work_dirs/digits/cwd"
