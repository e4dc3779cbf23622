"""The inheriting strategy: the student starts with the teacher's neck and head (below Eq. 14)."""

import logging
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

import torch
from mmcv.utils import print_log
from torch import Tensor, nn

from freekd.distill.class_maps import class_axis, matched, other_order, places
from freekd.distill.weights import find_module

Parts = Union[Sequence[str], Mapping[str, str]]


class Inherited(NamedTuple):
    """What :func:`inherit_weights` did: tensors by name in the student."""

    taken: List[str]
    other_shape: List[str]
    missing: List[str]  # the teacher has no such tensor


def inherit_weights(
    student: nn.Module,
    teacher: nn.Module,
    parts: Parts,
    key: str = "inherit",
    teacher_classes: Optional[Sequence[str]] = None,
    class_map: Optional[str] = None,
) -> Inherited:
    """Copy the teacher's weights of the named parts into the student where shapes agree.

    Args:
        student, teacher: bare models; the teacher has its trained weights.
        parts: names of modules that both have, such as ``["neck", "bbox_head"]``; or, where the
            names differ, a dict from the student's to the teacher's.
        key: the config key, for errors.
        teacher_classes: as its checkpoint names them; the student's are its ``CLASSES``.
        class_map: what to do with layers indexed by class where names are not alike, see
            ``FreeKDDistiller``.

    Returns:
        What was taken, and what was not and why; the same is logged.

    Raises:
        ValueError: a part that student or teacher does not have, or of which nothing fits; a layer
            indexed by class where the names of the classes are not alike.
    """
    names = dict(parts) if isinstance(parts, Mapping) else {part: part for part in parts}
    ours, theirs = student.state_dict(), teacher.state_dict()
    taken: List[str] = []
    other_shape: List[str] = []
    missing: List[str] = []
    for mine, its in names.items():
        find_module(student, mine, f"{key} (student)")
        find_module(teacher, its, f"{key} (teacher)")
        before = len(taken)
        for name, value in ours.items():
            if not name.startswith(f"{mine}."):
                continue
            source = theirs.get(its + name[len(mine) :])
            if source is None:
                missing.append(name)
            elif source.shape != value.shape:
                other_shape.append(
                    f"{name} {tuple(value.shape)}, the teacher's {tuple(source.shape)}"
                )
            else:
                index = _class_rows(student, name, teacher_classes, class_map, key)
                value.copy_(source if index is None else source[index.to(source.device)])
                taken.append(name)
        if len(taken) == before:
            raise ValueError(
                f"{key}={mine!r}: nothing of it fits: "
                f"{(other_shape or missing or ['it has no weights'])[-1]}. Remove it, or give the "
                "student the teacher's widths"
            )
    result = Inherited(taken, other_shape, missing)
    few = len(taken) < len(other_shape) + len(missing)
    level = logging.WARNING if few else logging.INFO
    print_log(_report(result, names, ours), logger="root", level=level)
    return result


def _class_rows(
    student: nn.Module,
    name: str,
    theirs: Optional[Sequence[str]],
    class_map: Optional[str],
    key: str,
) -> Optional[Tensor]:
    """The teacher's rows of a tensor in the order of the student's classes; None: as they are."""
    path, ours = name.rpartition(".")[0], getattr(student, "CLASSES", None)
    if not other_order(ours, theirs):
        return None
    axis = class_axis(student, path)
    if axis is None or axis.classes != len(ours or ()):
        return None
    if matched(ours or (), theirs or (), class_map, f"{key}: {path!r}") is None:
        return None
    return torch.tensor(axis.reordered(places(theirs or (), ours or ()) or []))


def _report(result: Inherited, names: Dict[str, str], ours: Mapping[str, object]) -> str:
    lines = [
        f"inherited from the teacher: {len(result.taken)} tensors of "
        + ", ".join(f"{m}" if m == t else f"{m} (its {t})" for m, t in names.items())
    ]
    if result.other_shape:
        lines.append("  of another shape, not inherited: " + "; ".join(result.other_shape))
    if result.missing:
        lines.append("  not in the teacher, not inherited: " + ", ".join(result.missing))
    rest = sorted({name.split(".")[0] for name in ours} - {name.split(".")[0] for name in names})
    if rest:
        lines.append("  not asked for: " + ", ".join(rest))
    return "\n".join(lines)
