"""The small DINO pair on the bundled task: FreeKD on the encoder's maps, with and without prompts.

python tools/study.py configs/studies/digits_dino.py        (docs/dino.md)
"""

name = "digits_dino"
work_dir = "work_dirs/studies/digits_dino"
baseline = "alone"
seeds = [0, 1, 2]
_freekd = "configs/freekd/dino_r18w32_r18w16_digits.py"
_teacher = {"pair.teacher_checkpoint": "{teacher}/latest.pth"}
rows = dict(
    teacher=dict(config="configs/teacher/dino_r18w32_digits.py", seed=0),
    prompts=dict(
        config="configs/prompt/dino_r18w32_digits.py",
        seed=0,
        options={"prompt.teacher_checkpoint": "{teacher}/latest.pth"},
    ),
    alone=dict(config="configs/baseline/dino_r18w16_digits.py", label="student alone"),
    freekd=dict(
        config=_freekd,
        label="FreeKD",
        options={**_teacher, "pair.losses.freekd.prompts": "{prompts}/prompts.pth"},
    ),
    no_prompts=dict(
        config=_freekd,
        label="FreeKD without prompts",
        options={
            **_teacher,
            "pair.losses.freekd.prompts": None,
            "pair.losses.freekd.loss_weight": 1.0,
        },
    ),
)
