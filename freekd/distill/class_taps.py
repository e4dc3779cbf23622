"""Taps that are indexed by class: the same number of classes, of the same names, in one order."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from freekd.distill.class_maps import (
    KEYS,
    both_lists,
    class_axis,
    class_layers_within,
    matched,
    other_order,
    places,
)


def check_classes(student: nn.Module, teacher: nn.Module, component: Any, where: str) -> None:
    """Class maps can only be distilled between models of the same classes.

    Raises:
        ValueError: a tapped layer's channels are classes and their numbers differ.
    """
    paths = (component.student_module, component.teacher_module)
    if paths[1] is None:  # of a loss without teacher
        return
    axes = [class_axis(model, path) for model, path in zip((student, teacher), paths)]
    if None in axes or axes[0].each != 1:  # type: ignore[union-attr]
        return
    ours, theirs = (axis.classes for axis in axes)  # type: ignore[union-attr]
    if ours != theirs:
        raise ValueError(
            f"{where}: {paths[0]!r} gives class maps of {ours} classes, the teacher's {paths[1]!r} "
            f"of {theirs}; class maps can only be distilled between the same classes. Tap the neck "
            "instead, or take a teacher of the student's classes"
        )


def class_order(
    student: nn.Module,
    component: Any,
    names: Tuple[Sequence[str], Sequence[str]],
    class_map: Optional[str],
    where: str,
    whole: bool = False,
) -> Optional[Tensor]:
    """The student's channels in the order of the teacher's classes; None: as they are.

    Args:
        student: the bare student.
        component: what is tapped.
        names: of the student's and of the teacher's classes.
        class_map: see ``FreeKDDistiller``.
        where: the component's key.
        whole: whether its loss takes a head's output as it is, and no layer in it.

    Raises:
        ValueError: the tap is indexed by class, names are not alike, and ``class_map`` does not
            say what to do.
    """
    path = component.student_module
    axis = class_axis(student, path)
    if not other_order(*names):
        return None
    if axis is None:
        _check_whole_head(student, path, names, class_map, where, whole)
        return None
    if axis.classes not in (1, len(names[0])):
        return None  # numbers that differ are told by the check of the heads against the data
    found = matched(*names, class_map, f"{where}: {path!r}")
    if found is None:
        return None
    if len(found) != axis.classes:
        raise ValueError(
            f"{where}: {path!r} has {axis.classes} channels for {len(found)} classes, which cannot "
            f"be put in another order, and {both_lists(*names)}. Tap the neck, or give the data "
            "set the teacher's order"
        )
    return torch.tensor(axis.reordered(found))


def _check_whole_head(
    student: nn.Module,
    path: str,
    names: Tuple[Sequence[str], Sequence[str]],
    class_map: Optional[str],
    where: str,
    whole: bool,
) -> None:
    """A head's outputs cannot be put in another order as a whole: its layers can."""
    inside = class_layers_within(student, path)
    if not inside or class_map == "by_index":
        return
    by_name = "" if class_map == "by_name" else f" with class_map='by_name' ({KEYS})"
    remedy = f"Tap {inside[0]!r} itself{by_name}, or the neck"
    if whole:
        remedy = "Give the data set (data.train.classes, val, test) the teacher's order"
        if places(*names) is None:
            remedy = f"If they mean the same one by one, set class_map='by_index' ({KEYS})"
        remedy += ", or remove the entry"
    raise ValueError(
        f"{where}: {path!r} gives what {inside[0]!r} in it gives, which is indexed by class, and "
        f"{both_lists(*names)}"
        + (", and a head as a whole cannot be put in another order" if by_name == "" else "")
        + f". {remedy}"
    )


def class_orders(
    student: nn.Module,
    theirs: Optional[Sequence[str]],
    components: Sequence[Any],
    class_map: Optional[str],
    source: str,
    losses: Mapping[str, Any],
) -> Tuple[Dict[int, Tensor], List[str]]:
    """For each component that needs it, the student's channels in the teacher's order.

    Args:
        student: the bare student; its ``CLASSES`` are the data's.
        theirs: the teacher's classes as its checkpoint names them; None if it does not.
        components: the distiller's taps.
        class_map: see ``FreeKDDistiller``.
        source: what should name them, for errors.
        losses: of all components, by name.

    Returns:
        Those, by the component's number; and what is worth a warning.

    Raises:
        ValueError: names are not alike, or not known, and ``class_map`` does not fit that.
    """
    ours = getattr(student, "CLASSES", None)
    found, notes = {}, []
    for i, component in enumerate(components):
        where, path = (
            component.get("where") or f"distiller.components[{i}]",
            component.student_module,
        )
        if component.teacher_module is None:  # of a loss without teacher
            continue
        if ours and theirs:
            taken = [losses[loss["name"]] for loss in component["losses"]]
            whole = any(getattr(loss, "takes_output", False) for loss in taken)
            order = class_order(student, component, (ours, theirs), class_map, where, whole)
            if order is not None:
                found[i] = order
        elif class_axis(student, path) is not None or class_layers_within(student, path):
            notes += _names_unknown(f"{where}: {path!r}", source, class_map)
    return found, notes


def _names_unknown(tap: str, source: str, class_map: Optional[str]) -> List[str]:
    text = f"{tap} is indexed by class, but {source} does not name its classes (meta['CLASSES'])"
    if class_map == "by_name":
        raise ValueError(
            f"{text}, so class_map='by_name' cannot be done. Name them in the file, or set "
            "'by_index' if they are in the data's order"
        )
    return [f"{text}: taken to be in the data's order"] if class_map is None else []
