"""Before training: one blank image through student and teacher, to see whether the taps match."""

from typing import Any, Dict, List, Optional, Sequence

import torch
from mmcv.utils import print_log
from torch import nn

from freekd.checks import FeatureError
from freekd.distill.apply import check_calls, check_named, check_shapes
from freekd.distill.components import key_of
from freekd.distill.run.partial import PartialRun

BLANK = (3, 128, 128)  # channels, height, width where nobody says what the data's images are


@torch.no_grad()
def dry_run(
    distiller: Any,
    student: nn.Module,
    of_student: PartialRun,
    image: Optional[Sequence[int]] = None,
) -> Dict[str, List[str]]:
    """Run the tapped parts of both models and check what they give.

    Weights, norm statistics, random generators and training flags stay as they are.

    Args:
        distiller: a ``FreeKDDistiller`` whose hooks are in place.
        student: the bare student.
        of_student: its tapped parts.
        image: (channels, height, width) of the data's images; None: :data:`BLANK`.

    Returns:
        For each loss a line per level with the student's and the teacher's shape; nothing where a
        model cannot be run in parts.

    Raises:
        ValueError: levels, channels, sizes or classes do not match; names the component. Or a model
            that does not take such an image.
    """
    of_teacher = distiller.teacher_run  # in its own precision, as in a training step
    if not (of_student.possible and (of_teacher is None or of_teacher.partial.possible)):
        print_log(
            "the tapped parts of student or teacher cannot be run alone: the whole teacher runs in "
            "each step, and shapes are checked in the first one",
            logger="root",
        )
        return {}
    channels, height, width = BLANK if image is None else image
    img = next(student.parameters()).new_zeros((1, channels, height, width))
    rois = img.new_tensor([[0.0, 0.0, 0.0, width / 2, height / 2]])
    modes = [(module, module.training) for module in student.modules()]
    distiller.forget()
    student.eval()
    distiller.recording = True
    try:
        runs: List[Any] = [("student", of_student, of_student.stages)]
        if of_teacher is not None:
            runs.append(("teacher", of_teacher, of_teacher.partial.stages))
        for who, run, stages in runs:
            shape = (height, width, channels)
            metas = [dict(img_shape=shape, pad_shape=shape, ori_shape=shape, scale_factor=1.0)]
            try:
                feats = run.features(img, metas)
                for stage in stages:
                    run.roi_head(feats, rois, stage)
            except (RuntimeError, ValueError, IndexError, AssertionError) as error:
                text = str(error).strip().splitlines() or [type(error).__name__]
                raise FeatureError(
                    f"the {who} does not run on a blank image of the data's shape, "
                    f"{tuple(img.shape)}: {text[0]}. Where this is about channels or size: images "
                    "must have as many channels as backbone.in_channels says and, for a model of a "
                    "fixed size, that size: change the model, or data.train.pipeline"
                ) from error
        found = _check(distiller)
        _check_named(distiller)
        return found
    finally:
        distiller.recording = False
        for module, mode in modes:
            module.training = mode
        distiller.forget()


def _check(distiller: Any) -> Dict[str, List[str]]:
    found: Dict[str, List[str]] = {}
    for tap in distiller.taps:
        students, teachers = distiller.outputs_of(tap)
        check_calls(students, teachers, tap, tap.where)
        for loss in tap.losses:
            module = distiller.losses[loss.name]
            found.setdefault(loss.name, []).extend(
                line
                for s_out, t_out in zip(students, teachers)
                for line in check_shapes(module, s_out, t_out, tap, tap.where)
            )
    return found


def _check_named(distiller: Any) -> None:
    """What losses on named taps say of what their taps gave."""
    for i, component in enumerate(distiller.components):
        taps = [tap for tap in distiller.taps if tap.component == i]
        if not taps[0].tap:
            continue
        outputs = {tap.tap: [each[0] for each in distiller.outputs_of(tap)] for tap in taps}
        students = {name: student for name, (student, _) in outputs.items()}
        teachers = {name: teacher for name, (_, teacher) in outputs.items()}
        alone = taps[0].teacher_module is None
        step = distiller.step({})._replace(
            paths=(component.student_module, component.teacher_module)
        )
        for loss in component.losses:
            module = distiller.losses[loss.name]
            check_named(module, students, None if alone else teachers, step, key_of(component, i))
