"""Does it matter where a student looks? The scenes' question on the bundled segmentation task.

python tools/study.py configs/studies/digits_seg_places.py --jobs 2        (docs/evidence_more.md)
"""

from freekd.study.shorthand import loss_row, masked_row, prompt_row

name = "digits_seg_places"
work_dir = "work_dirs/studies/digits_seg_places"
baseline = "uniform"
seeds = [0, 1, 2, 3, 4]
_pair = "configs/freekd/fpn_r34_r18_digits_seg.py"
_teacher = "{teacher}/latest.pth"


def _taught(row):
    """The row, with the teacher of this study."""
    row["options"]["pair.teacher_checkpoint"] = _teacher
    return row


def _row(label, prompts=None, **options):
    """A row of FreeKD's loss: weights of mean 1 and no gate, so that the places alone differ."""
    return _taught(masked_row(_pair, "freekd", label, prompts, loss_weight=1.0, **options))


def _bundled(label, **options):
    """The bundled config: prompts as published, and their gate."""
    options["prompts"] = "{published}/prompts.pth"
    return _taught(loss_row(_pair, "freekd", label, **options))


_stage1 = "configs/prompt/fpn_r34_digits_seg.py"
rows = dict(
    teacher=dict(config="configs/teacher/fpn_r34_digits_seg.py", seed=0),
    published=prompt_row(_stage1, teacher_checkpoint=_teacher),
    bottleneck=prompt_row(
        _stage1,
        teacher_checkpoint=_teacher,
        form="energy_bias",
        gate=None,
        dissimilarity_reduction="mean",
        sparsity=1.0,
        fill="noise",
    ),
    alone=dict(config=_pair, student_only=True, label="student alone"),
    uniform=_row("all places alike"),
    dct_alike=_row("DCT, all places alike", transform="dct"),
    shift=_row("Haar, moved, all places alike", shift=True),
    energy=_row("(e) the teacher's energy, unlearned", where="energy"),
    prompts=_row("prompts as published", "published"),
    prompts_noise=_row("(c) noise for what is masked", "bottleneck"),
    bundled=_bundled("the bundled config", shift=False),
    bundled_shift=_bundled("the bundled config, moved", shift=True),
)
