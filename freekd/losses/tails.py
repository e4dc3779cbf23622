"""A network's tail: its last stage as a function of tokens, for a gradient that runs through it.

A tail is what a backbone does between its last stage but one and a tapped output. It belongs to the
teacher: its modules are called, never kept, and neither their weights nor their mode change. They
are told by their attributes, as no package of networks is imported here:

| kind | tail |
|---|---|
| Swin | the patch merging after the last stage but one, the last stage, the last norm |
| Swin V2 | the last stage, which begins with its patch merging, and the last norm |
| ViT, DeiT | the last quarter of the blocks, on the patch tokens alone, and the final norm |
| ConvNeXt | the last downsampling, the last stage, the last norm if it is one of maps |

A norm is a part of it only where the tapped output has passed it.
"""

import difflib
import inspect
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from torch import Tensor, nn

from freekd.checks import check_flag
from freekd.losses.tokens import as_map, as_tokens, tokens_as_map

Grid = Tuple[int, int]


class Tail(NamedTuple):
    """Modules that run one after the other.

    Args:
        modules: of the teacher. One whose ``forward`` needs a second argument gets the grid.
        maps: whether they take maps (N, C, H, W) and not tokens (N, L, C).
    """

    modules: Tuple[nn.Module, ...]
    maps: bool = False

    def __call__(self, tokens: Tensor, grid: Grid) -> Tuple[Tensor, Grid]:
        """Tokens (N, H W, C) of a grid (H, W) to those of the tapped output, and their grid."""
        if self.maps:
            feat = tokens_as_map(tokens, "tail", grid, extra=0)
            for module in self.modules:
                feat = as_map(module(feat), "tail")
            return as_tokens(feat), (feat.shape[2], feat.shape[3])
        for module in self.modules:
            out: Any = module(tokens, grid) if _takes_grid(module.forward) else module(tokens)
            if isinstance(out, (tuple, list)):
                tokens, grid = out[0], (int(out[1][0]), int(out[1][1]))
            else:
                tokens = out
        return tokens, grid


class Kind(NamedTuple):
    """What is known of a backbone: module paths in it."""

    start: str  # whose output enters the tail
    modules: List[str]
    norm: Optional[str]  # after them
    maps: bool = False
    whole: Optional[str] = None  # why the backbone's own output is no end of the tail


def _takes_grid(forward: Any) -> bool:
    """Whether there is a second argument without a default."""
    given = list(inspect.signature(forward).parameters.values())[1:2]
    return bool(given) and given[0].default is given[0].empty and given[0].kind in (
        given[0].POSITIONAL_ONLY, given[0].POSITIONAL_OR_KEYWORD,
    )  # fmt: skip


def kind_of(backbone: Any) -> Optional[Kind]:
    """What is known of this backbone; None: nothing."""
    stages = getattr(backbone, "stages", None)
    if isinstance(stages, nn.ModuleList) and len(stages) > 1:
        last, before = len(stages) - 1, len(stages) - 2
        norm = f"norm{last}" if hasattr(backbone, f"norm{last}") else None
        if isinstance(getattr(backbone, "downsample_layers", None), nn.ModuleList):
            pooled = bool(getattr(backbone, "gap_before_final_norm", False))
            return Kind(
                f"stages.{before}",
                [f"downsample_layers.{last}", f"stages.{last}"],
                None if pooled else norm,
                maps=True,
                whole="it is pooled (gap_before_final_norm=True)" if pooled else None,
            )
        if hasattr(stages[before], "downsample") and hasattr(backbone, "patch_embed"):
            if isinstance(stages[last].downsample, nn.Module):
                return Kind(f"stages.{before}", [f"stages.{last}"], norm)
            merged = getattr(backbone, "out_after_downsample", False)
            if isinstance(stages[before].downsample, nn.Module) and not merged:
                merging = f"stages.{before}.downsample"
                return Kind(f"stages.{before}", [merging, f"stages.{last}"], norm)
    blocks = getattr(backbone, "layers", None)
    if isinstance(blocks, nn.ModuleList) and len(blocks) > 1 and hasattr(backbone, "pos_embed"):
        first = len(blocks) - max(1, len(blocks) // 4)
        paths = [f"layers.{index}" for index in range(first, len(blocks))]
        name = getattr(backbone, "norm1_name", None) if hasattr(backbone, "norm1") else None
        return Kind(f"layers.{first - 1}", paths, name)
    return None


def find_tail(
    teacher: nn.Module,
    start: Optional[str],
    end: str,
    key: str,
    given: Optional[Sequence[str]] = None,
    maps: bool = False,
) -> Tail:
    """The teacher's tail.

    Args:
        teacher: the bare model.
        start: path of the tapped stage whose output enters it; None: any.
        end: path of the tapped output that it ends with.
        key: the config key of the loss, for errors.
        given: paths of its modules, in their order, for networks that are not known.
        maps: whether these take maps.

    Raises:
        ValueError: such a network is not known, a tap lies elsewhere, or there is no such module;
            names the teacher's type, the key and the remedy.
    """
    if given is not None:
        return Tail(tuple(_module(teacher, path, f"{key}.tail") for path in given), maps)
    root = end.split(".")[0]
    backbone = getattr(teacher, root, None)
    kind = kind_of(backbone)
    if kind is None:
        raise ValueError(
            f"{key}.tail: the tail of a {type(teacher).__name__} with {root}="
            f"{type(backbone).__name__} is not known; known are Swin, ViT and ConvNeXt. Take such "
            f"a teacher, give the paths of the modules after its stage 3, as in {key}.tail="
            f"['{root}.stages.2.downsample', '{root}.stages.3'], or leave stage 3 out "
            f"({key}.stage3=None)"
        )
    modules = [f"{root}.{path}" for path in kind.modules]
    ends = {modules[-1]: modules}
    if kind.norm is not None:
        modules_and_norm = [*modules, f"{root}.{kind.norm}"]
        ends[modules_and_norm[-1]] = modules_and_norm
    if kind.whole is None:
        ends[root] = ends[list(ends)[-1]]
    if end not in ends:
        why = f": {kind.whole}" if end == root and kind.whole else ""
        raise ValueError(
            f"{key}.module (teacher): the tap of the last stage is {end!r}, from which the tail of "
            f"a {type(backbone).__name__} cannot be told{why}. Tap one of {', '.join(sorted(ends))}"
        )
    if start is not None and start != f"{root}.{kind.start}":
        raise ValueError(
            f"{key}.module (teacher): the tap of stage 3 is {start!r}, but the tail of a "
            f"{type(backbone).__name__} begins after {root}.{kind.start}. Tap that"
        )
    return Tail(tuple(teacher.get_submodule(path) for path in ends[end]), kind.maps)


def check_tail(tail: Any, maps: Any, key: str) -> None:
    """Raise ValueError, naming the key, unless these are ``given`` and ``maps`` of a tail."""
    check_flag(f"{key}tail_maps", maps)
    listed = isinstance(tail, (list, tuple)) and all(isinstance(path, str) for path in tail)
    if tail is not None and (not listed or not tail):
        raise ValueError(
            f"{key}tail must be a list of module paths of the teacher, such as "
            f"['backbone.stages.2.downsample', 'backbone.stages.3'], or None, got {tail!r}"
        )
    if maps and tail is None:
        raise ValueError(
            f"{key}tail_maps=True is for a tail that is given. Remove it, or give tail"
        )


def _module(teacher: nn.Module, path: str, key: str) -> nn.Module:
    modules = dict(teacher.named_modules())
    if path not in modules or not path:
        near = difflib.get_close_matches(str(path), modules, n=3)
        raise ValueError(
            f"{key}: the teacher {type(teacher).__name__} has no module {path!r}; nearest: "
            f"{', '.join(near) or 'none'}. Correct the path"
        )
    found: nn.Module = modules[path]
    return found
