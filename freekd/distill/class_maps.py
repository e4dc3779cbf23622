"""Layers whose channels are classes: where they are, and how to put them in another's order.

Student and teacher may name the same classes in another order. A neck does not care; a class map
does: channel i of one would learn another class of the other.
"""

import re
from typing import Any, List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn

CLASS_MAPS = (None, "by_name", "by_index")
KEYS = "the key pair.class_map, or algorithm.distiller.class_map"
# in what stands below the head's own name
_NAMES = re.compile(r"cls|seg|conf|logits|heat|pred|se_layer|mask_iou")
_SEGMENTOR_HEADS = ("decode_head", "auxiliary_head")


class ClassAxis(NamedTuple):
    """How a layer's channels are laid out: groups x (others, classes x each, background).

    Attributes:
        classes: how many, without the background.
        groups: anchors per place, one after the other.
        others: channels before the classes of each group (YOLOv3: box and objectness).
        background: channels after them (softmax heads of mmdet: one).
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


def head_of(model: nn.Module, path: str) -> Optional[nn.Module]:
    """The innermost module at or above ``path`` that says ``num_classes``."""
    modules = dict(model.named_modules())
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        module = modules.get(".".join(parts[:end]))
        if isinstance(getattr(module, "num_classes", None), int):
            return module
    return None


def class_axis(model: nn.Module, path: str) -> Optional[ClassAxis]:
    """The layout of the channels at ``path`` if they are classes; None for features and boxes.

    Told by the layer's name and by its number of channels, which must be what the head makes of its
    ``num_classes``.
    """
    head, module = head_of(model, path), dict(model.named_modules()).get(path)
    if head is None or module is None or "RPN" in type(head).__name__:  # objects, not classes
        return None
    channels, classes = _channels(module), int(head.num_classes)  # type: ignore[arg-type]
    if path.split(".")[0] in _SEGMENTOR_HEADS:
        maps = int(getattr(head, "out_channels", None) or classes)  # 1: foreground, of two classes
        if module is head or (channels == maps and _NAMES.search(path.split(".", 1)[1])):
            return ClassAxis(maps)
        return None
    last = path.rsplit(".", 1)[-1]
    if last == "fc_reg" and channels == 4 * classes and not _agnostic(head):
        return ClassAxis(classes, each=4)
    if not any(_NAMES.search(part) for part in path.split(".")[1:]) or _within_branch(model, path):
        return None
    anchors = getattr(head, "num_base_priors", None) or getattr(head, "num_anchors", None)
    if isinstance(anchors, (list, tuple)):  # per level
        anchors = next((n for n in anchors if _fits(channels, n, classes)), anchors[0])
    for groups in (1, anchors):
        if not isinstance(groups, int):
            continue
        boxes = ((5, 0),) if "convs_pred" in path else ()  # YOLOv3: box and objectness come first
        extra = ((0, 2),) if last == "fc_cls" else ()  # Seesaw: background, and objectness
        for others, background in ((0, 0), (0, 1), *boxes, *extra):
            axis = ClassAxis(classes, groups, others, background)
            if axis.channels == channels:
                return axis
    return None


def _within_branch(model: nn.Module, path: str) -> bool:
    """A convolution with norm or activation gives features, whatever its width."""
    modules = dict(model.named_modules())
    parents = (modules[path], modules.get(path.rpartition(".")[0]))
    return any(
        type(module).__name__ == "ConvModule" and (module.with_norm or module.with_activation)
        for module in parents
    )


def class_layers_within(model: nn.Module, path: str) -> List[str]:
    """Layers indexed by class inside a head that is tapped as a whole."""
    if head_of(model, path) is None:
        return []
    inside = [name for name, _ in model.named_modules() if name.startswith(f"{path}.")]
    return [name for name in inside if class_axis(model, name) is not None]


def _fits(channels: Optional[int], anchors: Any, classes: int) -> bool:
    return channels in [anchors * n for n in (classes, classes + 1, classes + 5)]


def _agnostic(head: nn.Module) -> bool:
    return bool(getattr(head, "reg_class_agnostic", False))


def _channels(module: nn.Module) -> Optional[int]:
    """What the last convolution or linear layer in ``module`` gives."""
    for inner in reversed(list(module.modules())):
        for name in ("out_channels", "out_features"):
            if isinstance(getattr(inner, name, None), int):
                return int(getattr(inner, name))
    return None


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
