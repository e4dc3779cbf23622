"""Stage 2 on the bundled task with the paper's loss as it stands: raw features, L1."""

_base_ = ["retinanet_r34_r18_digits.py"]
algorithm = dict(
    distiller=dict(
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
                        prompts="work_dirs/digits/prompts/prompts.pth",
                        loss_weight=0.02,
                    )
                ],
            )
        ]
    )
)
work_dir = "work_dirs/digits/paper"
