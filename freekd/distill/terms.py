"""A training step's distillation terms: every loss of every component on what its taps gave."""

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch
from torch import Tensor, nn

from freekd.checks import FeatureError
from freekd.distill.apply import apply_loss, apply_named, check_calls
from freekd.distill.class_maps import reorder
from freekd.losses.step import Step
from freekd.widen import widened


def distillation_terms(distiller: Any, step: Optional[Step]) -> Dict[str, Tensor]:
    """Each term by name; a module that runs several times gives one for each call.

    Args:
        distiller: a ``FreeKDDistiller`` whose taps have recorded teacher and student.
        step: of this training step; None where there is no batch.

    Raises:
        RuntimeError: a tapped module did not run, or not as often on both sides.
        FeatureError: a loss does not take what its taps give.
    """
    terms: Dict[str, Tensor] = {}
    numbered = list(enumerate(distiller.taps))
    for i, component in enumerate(distiller.components):
        where = f"distiller.components[{i}]"
        taps = [tap for _, tap in numbered if tap.component == i]
        if not distiller.computes([loss.name for loss in component.losses]):
            for call in range(len(distiller.student_outputs[taps[0].student_module])):
                for loss in component.losses:
                    terms[f"{loss.name}.{call}"] = _nothing(distiller, loss, i)
            continue
        calls = [_calls(distiller, n, tap) for n, tap in numbered if tap.component == i]
        if len({len(each) for each in calls}) > 1:
            counts = {tap.tap: len(each) for tap, each in zip(taps, calls)}
            raise RuntimeError(
                f"{where}: the named taps must run equally often in a step, they ran "
                f"{counts} times. Tap modules that run once"
            )
        for call, each in enumerate(zip(*calls)):
            for loss in component.losses:
                with _naming(loss.name, where):
                    term = _scheduled(distiller, loss, i, taps, each, step)
                    terms[f"{loss.name}.{call}"] = term
    return terms


def _scheduled(
    distiller: Any, loss: Any, number: int, taps: List[Any], outputs: Any, step: Optional[Step]
) -> Tensor:
    """A loss times its factor in this iteration; one that starts later is tried in the first step.

    What does not fit is then known at once, and not after the epochs before its start.
    """
    factor = distiller.schedules.factor(loss.name)
    if factor > 0:
        term = _term(distiller, loss, number, taps, outputs, step)
        return term if factor == 1 else widened(term) * factor
    if distiller.is_to_try(loss.name):
        with _without_traces(distiller.losses[loss.name], step):
            _term(distiller, loss, number, taps, outputs, step)
    return _nothing(distiller, loss, number)


@contextmanager
def _without_traces(loss: nn.Module, step: Optional[Step]) -> Iterator[None]:
    """Afterwards the buffers of ``loss`` and the random generators are as they were."""
    kept = [(buffer, buffer.clone()) for buffer in loss.buffers()]
    images = None if step is None else step.data["img"]
    devices = [images.device] if images is not None and images.is_cuda else []
    with torch.random.fork_rng(devices):
        yield
    with torch.no_grad():
        for buffer, value in kept:
            buffer.copy_(value)


def _nothing(distiller: Any, loss: Any, number: int) -> Tensor:
    """0, with a gradient of 0 for every parameter of the loss.

    Processes that share their gradients want one of every parameter in every step.
    """
    modules, name = [distiller.losses[loss.name]], f"component_{number}"
    if name in distiller.align_modules:
        modules.append(distiller.align_modules[name])
    zero = torch.zeros((), device=next(distiller.student.parameters()).device)
    for module in modules:
        for parameter in module.parameters():
            if parameter.requires_grad:
                zero = zero + parameter.reshape(-1)[:0].sum()
    return zero


def _calls(distiller: Any, number: int, tap: Any) -> List[Tuple[Any, Any]]:
    """What a tap gave to student and teacher in each call, in the teacher's order of classes."""
    students, teachers = distiller.outputs_of(tap)
    check_calls(students, teachers, tap, tap.where)
    order = distiller.class_orders.get(number)
    if order is not None:
        students = [(reorder(output, order), sizes) for output, sizes in students]
    return list(zip(students, teachers))


def _class_order(distiller: Any, number: int) -> Optional[Tensor]:
    """In which order of classes a component's taps of the student come; None: as they are."""
    taps = (n for n, tap in enumerate(distiller.taps) if tap.component == number)
    orders = (distiller.class_orders.get(n) for n in taps)
    return next((order for order in orders if order is not None), None)


def _term(
    distiller: Any, loss: Any, number: int, taps: List[Any], outputs: Any, step: Optional[Step]
) -> Tensor:
    """One loss of component ``number`` on one call of its taps."""
    module, name = distiller.losses[loss.name], f"component_{number}"
    module.current_data = None if step is None else step.data  # where MMRazor's losses look
    if step is not None:
        component = distiller.components[number]
        paths = component.student_module, component.teacher_module
        step = step._replace(paths=paths, class_order=_class_order(distiller, number))
    try:
        if taps[0].tap:
            students = {tap.tap: student for tap, (student, _) in zip(taps, outputs)}
            teachers = {tap.tap: teacher for tap, (_, teacher) in zip(taps, outputs)}
            alone = taps[0].teacher_module is None
            return apply_named(module, students, None if alone else teachers, step)
        align = distiller.align_modules[name] if name in distiller.align_modules else None
        (student, teacher), tap = outputs[0], taps[0]
        images = None if step is None else len(step.data["img"])
        return apply_loss(module, student, teacher, align, tap, tap.where, images, step)
    finally:
        module.current_data = None


@contextmanager
def _naming(loss: str, where: str) -> Iterator[None]:
    """What a loss of MMRazor's, mmdet's or a user's raises, with its name and its component."""
    try:
        yield
    except FeatureError:
        raise
    except (
        ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
        ValueError,
    ) as error:  # fmt: skip
        if isinstance(error, getattr(torch, "OutOfMemoryError", ())):
            raise
        raise FeatureError(
            f"{where}: {loss} cannot compare what its taps give ({type(error).__name__}: {error}). "
            "Tap other modules, or take another loss"
        ) from error
