"""FreeKD on the bundled task: what prompts, the loss weight and a later start change.

python tools/study.py configs/studies/digits_freekd.py        (docs/study.md)
"""

name = "digits_freekd"
work_dir = "work_dirs/studies/digits_freekd"
baseline = "alone"
seeds = [0, 1, 2]
_freekd = "configs/freekd/retinanet_r34_r18_digits.py"
_files = {  # {row}: where that row's run lies
    "pair.teacher_checkpoint": "{teacher}/latest.pth",
    "pair.losses.freekd.prompts": "{prompts}/prompts.pth",
}
rows = dict(
    # a row with a seed of its own is trained once, for all of the others
    teacher=dict(config="configs/teacher/retinanet_r34_digits.py", seed=0),
    prompts=dict(
        config="configs/prompt/retinanet_r34_digits.py",
        seed=0,
        options={"prompt.teacher_checkpoint": "{teacher}/latest.pth"},
    ),
    # the rows that are compared: each with every seed
    alone=dict(config=_freekd, student_only=True, label="student alone"),
    freekd=dict(config=_freekd, label="FreeKD", options=_files),
    half=dict(
        config=_freekd,
        label="FreeKD, half the weight",
        options={**_files, "pair.losses.freekd.loss_weight": 1.0},
    ),
    late=dict(
        config=_freekd,
        label="FreeKD, from epoch 2 on",
        options={**_files, "pair.losses.freekd.start": 2},
    ),
    no_prompts=dict(
        config="configs/freekd/retinanet_r34_r18_digits_no_prompts.py",
        label="FreeKD without prompts",
        options={"pair.teacher_checkpoint": "{teacher}/latest.pth"},
    ),
)
