"""Stage 2 on the bundled task: FreeKD on standardised channels, squared difference."""

_base_ = [
    "../_base_/datasets/digits_detection.py",
    "../_base_/schedules/digits_8e.py",
    "../_base_/default_runtime.py",
]
algorithm = dict(
    type="FreeKDDistill",
    architecture=dict(
        type="MMDetArchitecture", model="configs/_base_/models/retinanet_r18_digits.py"
    ),
    distiller=dict(
        type="FreeKDDistiller",
        teacher="configs/_base_/models/retinanet_r34_digits.py",
        teacher_checkpoint="work_dirs/digits/teacher/latest.pth",
        components=[
            dict(
                student_module="neck",
                teacher_module="neck",
                losses=[
                    dict(
                        type="FreeKDLoss",
                        name="loss_freekd",
                        student_channels=64,
                        teacher_channels=64,
                        num_levels=3,
                        num_prompts=2,
                        align="conv1x1",
                        normalize="channel",
                        distance="l2",
                        prompts="work_dirs/digits/prompts/prompts.pth",
                        loss_weight=2.0,
                    )
                ],
            )
        ],
    ),
)
work_dir = "work_dirs/digits/freekd"
