"""``levels``: which of a tapped module's maps are compared, or have prompts, by number from 0.

A teacher of five levels can so teach a student of four.
"""

from typing import Any, List, Mapping, Optional, Sequence

from torch import Tensor, nn

from freekd.checks import FeatureError
from freekd.distill.run.taps import Sizes, as_levels
from freekd.prompts.file import MAKE_COMMAND


def check_sides(key: str, value: Any) -> None:
    """``levels`` of a component: for student, teacher or both, which of a module's maps.

    Raises:
        ValueError: it is no such dict; names the config key.
    """
    sides = ("student", "teacher")
    if not isinstance(value, Mapping) or not value or not set(value) <= set(sides):
        raise ValueError(
            f"{key} must be a dict with student, teacher or both, such as dict(teacher=[1, 2, 3]), "
            f"got {value!r}"
        )
    for side in value:
        check_numbers(f"{key}.{side}", value[side])


def check_numbers(key: str, value: Any) -> None:
    """Raise ValueError, naming the key, unless ``value`` lists numbers of maps, rising, from 0."""
    fits = isinstance(value, (list, tuple)) and len(value) > 0
    fits = fits and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value)
    if not fits or list(value) != sorted(set(value)):
        raise ValueError(
            f"{key} must be a list of the maps' numbers, the finest first: it is 0, such as "
            f"[1, 2, 3], got {value!r}"
        )


def choose(output: Any, sizes: Optional[Sizes], levels: Sequence[int], key: str) -> List[Tensor]:
    """Some of a module's maps, by their numbers from 0.

    Args:
        output, sizes: as in :func:`as_levels`.
        levels: which maps, in their order.
        key: the config key of the tapped module, for errors.

    Raises:
        FeatureError: the module gives no map of such a number; has both lists.

    >>> import torch
    >>> maps = [torch.zeros(1, 8, size, size) for size in (8, 4, 2)]
    >>> [len(m[0, 0]) for m in choose(maps, None, [1, 2], "module")]
    [4, 2]
    """
    maps = as_levels(output, sizes, key)
    check_there(levels, len(maps), key)
    return [maps[level] for level in levels]


def check_there(levels: Sequence[int], there: int, key: str) -> None:
    """Raise FeatureError, with both lists, unless a module of ``there`` maps has ``levels``."""
    if any(level not in range(there) for level in levels):
        raise FeatureError(
            f"{key}: levels are the maps {list(levels)}, but the module gives "
            f"{list(range(there))}. Name some of those, the finest first"
        )


def of_side(tap: Any, who: str) -> Optional[Sequence[int]]:
    """The numbers that a tap names for ``student`` or ``teacher``; None: all maps."""
    numbers: Optional[Sequence[int]] = (tap.get("levels") or {}).get(who)
    return numbers


def check_prompts(name: str, loss: nn.Module, levels: Optional[Sequence[int]]) -> None:
    """Prompts are of certain maps of the teacher: of those that are compared.

    Args:
        name: of the loss.
        loss: one that may have a prompt file.
        levels: the teacher's maps that are compared; None: all.

    Raises:
        ValueError: they are of others; has both lists.
    """
    info, count = getattr(loss, "prompt_info", {}), getattr(loss, "teacher_channels", ())
    if "teacher_module" not in info:  # of the release, or none
        return
    every = list(range(len(count)))
    made = list(info.get("levels") or every)
    asked = list(levels or every)
    if made != asked:
        raise ValueError(
            f"{name}: the prompts were made for the teacher's maps {made}, the pair compares "
            f"{asked}. Give the teacher's levels alike in both stages: pair.levels="
            f"dict(teacher={made}), or new prompts of prompt.levels={asked}: {MAKE_COMMAND}"
        )
