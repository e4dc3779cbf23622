"""What of a teacher's forward can be left out: what follows its taps, and branches beside them."""

from contextlib import contextmanager
from functools import partial
from typing import Any, Dict, Iterator, List, Sequence, Set, Tuple

from torch import Tensor, nn

# Branches of mmdet's heads from whose layers nothing flows into another branch: for each class,
# the names of each such branch's parts. Subclasses may compute anything, so they are not meant.
_BRANCHES = {
    "retina_head.RetinaHead": (("cls_convs", "retina_cls"), ("reg_convs", "retina_reg")),
    "atss_head.ATSSHead": (
        ("cls_convs", "atss_cls"),
        ("reg_convs", "atss_reg", "atss_centerness", "scales"),
    ),
    "gfl_head.GFLHead": (("cls_convs", "gfl_cls"), ("reg_convs", "gfl_reg", "scales")),
    "reppoints_head.RepPointsHead": (("cls_convs", "reppoints_cls_conv", "reppoints_cls_out"),),
}
# Parts that no branch above flows into, but which flow into one: never left out.
_KEPT = {
    "reppoints_head.RepPointsHead": (
        "reg_convs",
        "reppoints_pts_init_conv",
        "reppoints_pts_init_out",
        "reppoints_pts_refine_conv",
        "reppoints_pts_refine_out",
    ),
}


class _Ended(BaseException):
    """The taps have all they want. No part of a model catches it: it is no ``Exception``."""


class EndAfterTaps:
    """Ends a forward as soon as each tapped module has run as often as in a whole forward.

    How often that is, as for a head that all levels share, is counted in the first forward of as
    many images, which is run whole; so is one in which a module ran less often. That no backbone,
    neck or dense head runs a part more often for other pixels is taken for granted; if one did,
    :func:`freekd.distill.components.check_calls` would say so, for the student is run whole.

    A tapped output may be changed in place by what follows, as a norm's by its activation: then
    every forward is run whole, or the tap would give something else.

    Args:
        modules: the tapped ones.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)
        self.calls: Dict[int, List[int]] = {}  # of each module, by the number of images
        self.changed: Set[int] = set()  # numbers of images where an output was changed later

    @contextmanager
    def __call__(self, images: int) -> Iterator[None]:
        """Within it, run the model; what follows the taps' last output does not happen."""
        wanted = None if images in self.changed else self.calls.get(images)
        calls = [0] * len(self.modules)
        versions: List[Tuple[Tensor, int]] = []

        def count(index: int, _: nn.Module, __: Any, output: Any) -> None:
            calls[index] += 1
            if wanted is None:
                versions.extend((x, x._version) for x in _tensors(output) if not x.is_inference())
            elif all(n >= full for n, full in zip(calls, wanted)):
                raise _Ended

        # last among the hooks of a module: those that record have seen the output
        handles = [
            module.register_forward_hook(partial(count, index))
            for index, module in enumerate(self.modules)
        ]
        try:
            yield
            self.calls[images] = calls
            if any(x._version != before for x, before in versions):
                self.changed.add(images)
        except _Ended:
            pass
        finally:
            for handle in handles:
                handle.remove()


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for item in output:
            yield from _tensors(item)


def untapped_layers(head: nn.Module, name: str, paths: Sequence[str]) -> List[nn.Module]:
    """The layers of a head that no tap depends on.

    Args:
        head: of a detector; of one of the classes above, or nothing is left out.
        name: of the head in the detector.
        paths: tapped modules of the detector.
    """
    kind = type(head)
    place, _, short = kind.__module__.rpartition(".")
    if place != "mmdet.models.dense_heads" or name in paths:
        return []
    branches = _BRANCHES.get(f"{short}.{kind.__name__}", ())
    known = {part for parts in branches for part in parts}
    known.update(_KEPT.get(f"{short}.{kind.__name__}", ()))
    tapped = {path.split(".")[1] for path in paths if path.startswith(f"{name}.")}
    if not tapped <= known:
        return []  # it may depend on any branch
    found: List[nn.Module] = []
    for parts in branches:
        if tapped & set(parts):
            continue
        for part in parts:
            layer = getattr(head, part)
            found += list(layer) if isinstance(layer, nn.ModuleList) else [layer]
    return found


@contextmanager
def left_out(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Within it, these layers compute nothing: each gives an empty tensor."""
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = _nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer, own in zip(layers, before):
            if own is None:
                del layer.forward
            else:
                layer.forward = own


def _nothing(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x.new_empty(0)  # not x itself: an in-place activation may follow
