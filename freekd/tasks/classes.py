"""Where a model tells classes apart: its heads, and how a layer's channels are laid out."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from torch import nn


class ClassAxis(NamedTuple):
    """How a layer's channels are laid out: groups x (others, classes x each, background).

    Attributes:
        classes: how many, without the background.
        groups: anchors per place, one after the other.
        others: channels before the classes of each group (YOLOv3: box and objectness).
        background: channels after them (softmax heads of detectors: one).
        each: channels per class (box regression per class: four).
    """

    classes: int
    groups: int = 1
    others: int = 0
    background: int = 0
    each: int = 1

    @property
    def channels(self) -> int:
        """All of them.

        >>> ClassAxis(classes=3, groups=9).channels, ClassAxis(classes=3, background=1).channels
        (27, 4)
        """
        return self.groups * (self.others + self.classes * self.each + self.background)

    def reordered(self, order: Sequence[int]) -> List[int]:
        """Channels in such an order that class ``order[k]`` comes at place k.

        >>> ClassAxis(classes=2, groups=2).reordered([1, 0])
        [1, 0, 3, 2]
        >>> ClassAxis(classes=2, background=1).reordered([1, 0])
        [1, 0, 2]
        >>> ClassAxis(classes=2, each=2).reordered([1, 0])
        [2, 3, 0, 1]
        """
        width = self.channels // self.groups
        found = []
        for start in range(0, self.channels, width):
            first = start + self.others
            found += range(start, first)
            for place in order:
                found += range(first + place * self.each, first + (place + 1) * self.each)
            found += range(first + self.classes * self.each, start + width)
        return found


def heads_with_classes(model: nn.Module) -> Dict[str, nn.Module]:
    """Every module that says ``num_classes``, by path, outermost first.

    A backbone that can end in a classifier says -1 where it does not; an RPN knows objects, no
    classes.
    """
    return {
        path: module
        for path, module in model.named_modules()
        if path
        and isinstance(getattr(module, "num_classes", None), int)
        and getattr(module, "num_classes", -1) > 0
        and "RPN" not in type(module).__name__
    }


def head_of(model: nn.Module, path: str) -> Any:
    """The innermost module at or above ``path`` that has classes; None if there is none."""
    heads, parts = heads_with_classes(model), path.split(".")
    places = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((heads[place] for place in places if place in heads), None)


def channels_of(module: nn.Module) -> Optional[int]:
    """What the last convolution or linear layer in ``module`` gives."""
    for inner in reversed(list(module.modules())):
        for name in ("out_channels", "out_features"):
            if isinstance(getattr(inner, name, None), int):
                return int(getattr(inner, name))
    return None
