"""The ablation on the bundled task: the same loss without prompts and gate (Eq. 3).

A mask's mean square is a little under 1/2, so half the weight gives a term of about the same size.
"""

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
                        align="conv1x1",
                        normalize="channel",
                        distance="l2",
                        prompts=None,
                        loss_weight=1.0,
                    )
                ],
            )
        ]
    )
)
work_dir = "work_dirs/digits/no_prompts"
