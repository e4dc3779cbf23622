"""Layers whose channels are classes: where they are, and how to put them in another's order.

Student and teacher may name the same classes in another order. A neck does not care; a class map
does: channel i of one would learn another class of the other.
"""

from typing import Any, List, Optional, Sequence

import torch
from torch import Tensor, nn

from freekd import tasks
from freekd.tasks.classes import ClassAxis, head_of

__all__ = [
    "CLASS_MAPS",
    "KEYS",
    "ClassAxis",
    "both_lists",
    "class_axis",
    "class_layers_within",
    "head_of",
    "matched",
    "other_order",
    "places",
    "reorder",
]

CLASS_MAPS = (None, "by_name", "by_index")
KEYS = "the key pair.class_map, or algorithm.distiller.class_map"


def class_axis(model: nn.Module, path: str) -> Optional[ClassAxis]:
    """The layout of the channels at ``path`` if they are classes; None for features and boxes."""
    return tasks.of_built(model).class_axis(model, path)


def class_layers_within(model: nn.Module, path: str) -> List[str]:
    """Layers indexed by class inside a head that is tapped as a whole."""
    if head_of(model, path) is None:
        return []
    inside = [name for name, _ in model.named_modules() if name.startswith(f"{path}.")]
    return [name for name in inside if class_axis(model, name) is not None]


# --------------------------------------------------------------------------- names
def other_order(ours: Optional[Sequence[str]], theirs: Optional[Sequence[str]]) -> bool:
    """Whether both name their classes, and not alike."""
    return bool(ours and theirs) and list(ours or ()) != list(theirs or ())


def places(of: Sequence[str], by: Sequence[str]) -> Optional[List[int]]:
    """Where each name of ``by`` stands in ``of``; None where they are not the same names.

    >>> places(of=["cat", "dog", "cow"], by=["dog", "cow", "cat"])
    [1, 2, 0]
    """
    if sorted(of) != sorted(by) or len(set(of)) != len(of):
        return None
    return [list(of).index(name) for name in by]


def both_lists(ours: Sequence[str], theirs: Sequence[str], who: str = "student") -> str:
    """For errors."""
    return f"the {who} has the classes {_some(ours)}, the teacher {_some(theirs)}, in this order"


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(map(str, names[:12]))}{', ...' if len(names) > 12 else ''} ({len(names)})"


def matched(
    ours: Sequence[str], theirs: Sequence[str], class_map: Optional[str], what: str
) -> Optional[List[int]]:
    """Where each of the teacher's classes stands among ``ours``; None: as they are.

    Args:
        ours, theirs: names that are not alike.
        class_map: see ``FreeKDDistiller``.
        what: what is compared by class, with its key, for errors.

    Raises:
        ValueError: ``class_map`` does not say what to do, or names do not match one to one.
    """
    if class_map == "by_index":
        return None
    told = both_lists(ours, theirs)
    found = places(ours, theirs)
    if class_map is None:
        remedy = f"Set class_map='by_name' ({KEYS}) to compare classes of one name"
        if found is None:
            only = [sorted(set(a) - set(b)) for a, b in ((ours, theirs), (theirs, ours))]
            told += f" (only the student's: {_some(only[0])}; only the teacher's: {_some(only[1])})"
            remedy = "Tap the neck instead, or, if they mean the same one by one, set "
            remedy += f"class_map='by_index' ({KEYS})"
        raise ValueError(f"{what} is indexed by class, and {told}. {remedy}.")
    if found is None:
        raise ValueError(
            f"class_map='by_name': expected the same names in another order for {what}, but "
            f"{told}. If they mean the same one by one, set class_map='by_index' ({KEYS}); else "
            "tap the neck."
        )
    return found


def reorder(output: Any, index: Tensor) -> Any:
    """The channels of a map, of (K, C) rows, of (..., C) tokens, or of a tuple of such."""
    if torch.is_tensor(output):
        last = output.dim() == 3 and output.shape[-1] == len(index)  # tokens; points have them at 1
        axis = -1 if last else 1
        return output.index_select(axis, index.to(output.device))
    if isinstance(output, (list, tuple)):
        return [reorder(item, index) for item in output]
    return output
