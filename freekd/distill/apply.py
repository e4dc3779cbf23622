"""One loss on what its taps gave: before training on a blank image, and in each step."""

import inspect
from functools import lru_cache
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type

import torch
from torch import Tensor, nn

from freekd.checks import FeatureError
from freekd.compat import to_float32
from freekd.distill.components import side_key
from freekd.distill.run.taps import as_levels
from freekd.losses.align import align_size
from freekd.losses.step import Step


def check_calls(students: List[Any], teachers: List[Any], component: Any, where: str) -> None:
    """A tapped module runs equally often on both sides, at least once.

    Raises:
        RuntimeError: it does not.
    """
    if component.teacher_module is None and students:
        return
    if component.teacher_module is None:
        raise RuntimeError(f"{where}: {component.student_module!r} did not run in the student")
    if not students or len(students) != len(teachers):
        raise RuntimeError(
            f"{where}: {component.student_module!r} ran {len(students)} times in the student, "
            f"{component.teacher_module!r} {len(teachers)} times in the teacher; they must run "
            "equally often, at least once"
        )


def check_shapes(
    loss: nn.Module, s_out: Any, t_out: Any, component: Any, where: str, images: int = 1
) -> List[str]:
    """Whether one call's outputs fit one loss; returns a line per level, for the report.

    Args:
        loss: built from ``component.losses``.
        s_out, t_out: (output, spatial sizes or None) of student and teacher, for the same image.
        images: how many went through the models.

    Raises:
        ValueError: numbers of levels, channels, or sizes (unless ``resize=True``) differ.
    """
    if component.teacher_module is None:
        return [f"{_shapes(s_out[0])}"]
    if getattr(loss, "takes_output", False):
        if hasattr(loss, "check_feats"):
            loss.check_feats(s_out[0], t_out[0])
        return [f"{_shapes(s_out[0])} {_shapes(t_out[0])}"]
    if getattr(loss, "named_taps", False):  # what they must be, the loss alone knows
        return [f"{_shapes(s_out[0])} {_shapes(t_out[0])}"]
    if not hasattr(loss, "check_feats"):
        return _check_plain(s_out, t_out, component, where)
    student = as_levels(
        *s_out, key=f"{side_key(component, 'student')}={component.student_module!r}"
    )
    teacher = as_levels(
        *t_out, key=f"{side_key(component, 'teacher')}={component.teacher_module!r}"
    )
    student, teacher = loss.check_feats(student, teacher)
    for who, levels in (("student", student), ("teacher", teacher)):
        _check_images(levels, component[f"{who}_module"], images, where)
    _check_sizes(student, teacher, component, where)
    return [f"{tuple(s.shape)} {tuple(t.shape)}" for s, t in zip(student, teacher)]


def _shapes(output: Any) -> Any:
    """For the report."""
    if torch.is_tensor(output):
        return tuple(output.shape)
    return [_shapes(item) for item in output] if isinstance(output, (list, tuple)) else "?"


def _check_images(levels: List[Tensor], path: str, images: int, where: str) -> None:
    """A decoder's (layers, queries, N, C) has four axes too, but is no map of each image."""
    if path.split(".")[0] == "roi_head":  # a map for each proposal
        return
    for level in levels:
        if level.shape[0] != images:
            raise FeatureError(
                f"{where}: {path!r} gives {tuple(level.shape)} for {images} image(s), expected "
                f"maps ({images}, C, H, W). Queries, boxes and parts of images are no maps: tap a "
                "backbone, a neck or an encoder"
            )


def _check_sizes(student: List[Tensor], teacher: List[Tensor], component: Any, where: str) -> None:
    for level, (s, t) in enumerate(zip(student, teacher)):
        if s.shape[-2:] != t.shape[-2:] and not component.get("resize", False):
            raise FeatureError(
                f"{where}: level {level} of {component.student_module!r} is "
                f"{tuple(s.shape[-2:])} where the teacher's is {tuple(t.shape[-2:])}: their "
                "strides differ. If the pyramids start at different levels, tap or configure them "
                "alike; if it is meant, resize=True resizes the student's maps"
            )


def _check_counts(student: List[Tensor], teacher: List[Tensor], where: str) -> None:
    if len(student) != len(teacher):
        raise FeatureError(
            f"{where}: the student module gives {len(student)} levels, the teacher module "
            f"{len(teacher)}"
        )


def _check_plain(s_out: Any, t_out: Any, component: Any, where: str) -> List[str]:
    """MMRazor's and mmdet's own losses compare tensors of one shape (or after ``align_module``)."""
    student, teacher = s_out[0], t_out[0]
    if not (torch.is_tensor(student) and torch.is_tensor(teacher)):
        student, teacher = as_levels(*s_out, key=where), as_levels(*t_out, key=where)
    else:
        student, teacher = [student], [teacher]
    _check_counts(student, teacher, where)
    pairs = [(tuple(s.shape), tuple(t.shape)) for s, t in zip(student, teacher)]
    for s_shape, t_shape in pairs:
        came = s_shape
        if len(s_shape) == len(t_shape) == 4 and component.get("resize", False):
            came = came[:2] + t_shape[2:]
        if component.get("align_module") is not None:
            came = _after_align(came, component, where)
        if came != t_shape:
            raise FeatureError(
                f"{where}: {component.student_module!r} gives {s_shape}, the teacher's "
                f"{component.teacher_module!r} {t_shape}; "
                + (
                    "box regression of all classes against one for each, or other classes: set "
                    "reg_class_agnostic (and num_classes) alike in both bbox heads"
                    if "fc_reg" in component.student_module
                    else "add an align_module, or tap modules of one shape"
                )
            )
    return [f"{s} {t}" for s, t in pairs]


def _after_align(shape: Tuple[int, ...], component: Any, where: str) -> Tuple[int, ...]:
    """The shape that ``align_module`` makes of ``shape``."""
    align = component["align_module"]
    axis = 1 if align["type"] == "conv2d" else len(shape) - 1
    if not axis < len(shape) or shape[axis] != align["student_channels"]:
        raise FeatureError(
            f"{where}.align_module: student_channels={align['student_channels']}, but "
            f"{component.student_module!r} gives {shape}"
        )
    return (*shape[:axis], align["teacher_channels"], *shape[axis + 1 :])


def apply_loss(
    loss: nn.Module,
    s_out: Any,
    t_out: Any,
    align: Any,
    component: Any,
    where: str,
    images: Optional[int] = None,
    step: Optional[Step] = None,
) -> Tensor:
    """One loss, in float32, on one call's outputs, each (output, spatial sizes or None).

    Args:
        loss: built from ``component.losses``; one whose ``forward`` has a ``step`` gets that too.
        s_out, t_out: of student and teacher; the latter (None, None) where it takes none.
        align: the component's ``align_module``, or None.
        component: a tap, see :func:`freekd.distill.components.taps_of`.
        where: its config key.
        images: how many went through the models; None: not checked.
        step: of this training step.

    Raises:
        ValueError: numbers of levels differ, or sizes without ``resize=True``; a loss of maps gets
            something that is none for each of the ``images``.
    """
    if component.teacher_module is None:
        output = s_out if getattr(loss, "widens", False) else to_float32(s_out)
        return _call(loss, output[0], None, step)
    if images is not None and getattr(loss, "takes_levels", False):
        for who, out in (("student", s_out), ("teacher", t_out)):
            given = out[0] if isinstance(out[0], (list, tuple)) else [out[0]]
            maps = [one for one in given if torch.is_tensor(one) and one.dim() == 4]
            _check_images(maps, component[f"{who}_module"], images, where)
    if align is not None or not getattr(loss, "widens", False):
        s_out, t_out = to_float32(s_out), to_float32(t_out)
    if getattr(loss, "takes_output", False):
        return _call(loss, s_out[0], t_out[0], step)
    if torch.is_tensor(s_out[0]) and torch.is_tensor(t_out[0]) and s_out[1] is None:
        if getattr(loss, "takes_levels", False):
            _check_sizes([s_out[0]], [t_out[0]], component, where)
            return _call(loss, _aligned(s_out[0], align), t_out[0], step)
        student = _resized(_aligned(s_out[0], align), t_out[0], component)
        return _call(loss, student, t_out[0], step)
    student = as_levels(*s_out, key=side_key(component, "student"))
    teacher = as_levels(*t_out, key=side_key(component, "teacher"))
    student = [_aligned(level, align) for level in student]
    if getattr(loss, "takes_levels", False):
        _check_sizes(student, teacher, component, where)
        return _call(loss, student, teacher, step)
    _check_counts(student, teacher, where)
    pairs = zip(student, teacher)
    return torch.stack([_call(loss, _resized(s, t, component), t, step) for s, t in pairs]).sum()


def apply_named(
    loss: nn.Module,
    students: Mapping[str, Any],
    teachers: Optional[Mapping[str, Any]],
    step: Optional[Step] = None,
) -> Tensor:
    """One loss on named taps: it gets two dicts, from a tap's name to what its module gave.

    Maps come as the module gives them: a tensor, or a tuple of them, one per level; a sequence
    that was told its ``spatial_shapes`` comes as maps (N, C, H, W).

    Args:
        loss: with ``forward(student, teacher)``, or with a third argument ``step``.
        students, teachers: name -> (output, spatial sizes or None); None: the loss takes no
            teacher, and gets None.
        step: of this training step.
    """
    widens = getattr(loss, "widens", False)
    return _call(loss, _by_name(students, widens), _by_name(teachers, widens), step)


def check_named(
    loss: nn.Module,
    students: Mapping[str, Any],
    teachers: Optional[Mapping[str, Any]],
    step: Step,
    key: str,
) -> None:
    """What a loss on named taps says of a blank image, by its ``check_taps`` if it has one.

    Raises:
        ValueError: it refuses what the taps gave.
    """
    if hasattr(loss, "check_taps"):
        loss.check_taps(_by_name(students, True), _by_name(teachers, True), step, key)


def _by_name(outputs: Optional[Mapping[str, Any]], widens: bool) -> Optional[Dict[str, Any]]:
    """What each tap gave; in float32, unless the loss ``widens`` by itself."""
    if outputs is None:
        return None
    if not widens:
        outputs = {name: to_float32(out) for name, out in outputs.items()}
    return {
        name: out if sizes is None else as_levels(out, sizes, key=f"tap {name!r}")
        for name, (out, sizes) in outputs.items()
    }


def takes_step(loss: nn.Module) -> bool:
    """Whether ``forward`` has an argument ``step``: MMRazor's and mmdet's losses have none."""
    return _class_takes_step(type(loss))


@lru_cache(maxsize=None)
def _class_takes_step(kind: Type[nn.Module]) -> bool:
    """Asked for each level in each step."""
    return "step" in inspect.signature(kind.forward).parameters


def _call(loss: nn.Module, student: Any, teacher: Any, step: Optional[Step]) -> Tensor:
    result: Tensor = (
        loss(student, teacher, step=step) if takes_step(loss) else loss(student, teacher)
    )
    if not torch.is_tensor(result):  # MMRazor would not sum what is in a dict
        raise TypeError(f"forward must give a tensor, the loss; it gives a {type(result).__name__}")
    return result


def _aligned(feat: Tensor, align: Any) -> Tensor:
    """``align_module`` on a map of any precision."""
    return feat if align is None else align(feat.to(next(align.parameters()).dtype))


def _resized(student: Tensor, teacher: Tensor, component: Any) -> Tensor:
    """With ``resize=True``, for losses that do not resize by themselves."""
    if not component.get("resize", False) or student.dim() != 4:
        return student
    return align_size(student, teacher.shape[-2:])
