"""Losses that need no teacher, and distillers without one: what fits together."""

from typing import Any

from torch import nn

from freekd.distill.components import key_of


def takes_teacher(loss: Any) -> bool:
    """Whether a loss, or its class, compares student and teacher; few need no teacher."""
    return bool(getattr(loss, "takes_teacher", True))


def check_without_teacher(teacher: Any, **keys: Any) -> None:
    """A distiller without a teacher says nothing that only a teacher makes sense of.

    Raises:
        ValueError: one of its ``keys`` does; names both.
    """
    for key, value in keys.items() if teacher is None else ():
        if value:
            raise ValueError(
                f"distiller.{key}={value!r}: distiller.teacher is None, so there is nothing that "
                "it could be for. Remove it, or give a teacher"
            )


def check_sides(module: nn.Module, loss: Any, component: Any, index: int, teacher: bool) -> None:
    """A component has a tap in the teacher where its loss takes one (``takes_teacher``).

    Args:
        module: the built loss.
        loss: its config.
        component, index: whose it is.
        teacher: whether the distiller has one.

    Raises:
        ValueError: it has none, or one too many.
    """
    where, kind = key_of(component, index), f"{type(module).__name__} ({loss.name})"
    if not takes_teacher(module):
        if component.teacher_module is not None:
            raise ValueError(
                f"{where}: teacher_module={component.teacher_module!r}, but {kind} needs no "
                "teacher. Remove the key, and give losses that need one a component of their own"
            )
        useless = [key for key in ("align_module", "resize") if component.get(key)]
        if useless:
            raise ValueError(
                f"{where}: {useless} are for maps of a teacher, but {kind} needs none. Remove them"
            )
        return
    if not teacher:
        raise ValueError(
            f"{where}: {kind} needs a teacher, but distiller.teacher is None. Give one, or remove "
            "the component"
        )
    if component.teacher_module is None:
        raise ValueError(
            f"{where}: {kind} compares student and teacher, but there is no teacher_module. Add it"
        )
