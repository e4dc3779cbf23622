"""A student's stage projected onto the teacher's tokens, in two views; options of a stage."""

import difflib
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

try:
    from torch.func import functional_call
except ImportError:  # torch < 2.0
    from torch.nn.utils.stateless import functional_call  # type: ignore[assignment]

from freekd.checks import FeatureError, check_choice, check_integer, check_weight

from .projector import NORMS, AttentionProjector, Grid, check_grid, check_heads, scales_of
from .tokens import as_map, as_tokens, check_index

VIEWS = ("spatial", "frequency")
NOTHING: Mapping[str, Any] = {}  # options of which the config says nothing, or no queries


class StageOptions(NamedTuple):
    """What a config says of ``stage3`` or ``stage4``; None: as the models tell.

    Args:
        alpha: weights of the two views, spatial and frequency; a view of weight 0 is not computed.
        num_heads: of the projectors' attention; None: one for 64 channels, as near as it divides.
        softmax_scale: tau of the attention: one number, or one for each view.
        student_dims, pos_hw: channels and (height, width) of the student's map; one number of a
            square.
        teacher_dims, query_hw: channels and grid of the tokens: those of the teacher's stage.
        norm: of the projectors: ``batch``, or ``layer`` for students with layer norm (ConvNeXt).
        student_index, teacher_index: which output counts where the tap gives a tuple of them.
    """

    alpha: Sequence[float] = (0.08, 0.06)
    num_heads: Optional[int] = None
    softmax_scale: Any = 5.0
    student_dims: Optional[int] = None
    teacher_dims: Optional[int] = None
    query_hw: Any = None
    pos_hw: Any = None
    norm: str = "batch"
    student_index: int = -1
    teacher_index: int = -1

    @classmethod
    def read(cls, given: Any, key: str) -> "StageOptions":
        """The options of one stage, checked.

        Raises:
            ValueError: an unknown option, with the nearest, or a value of another kind.
        """
        if not isinstance(given, Mapping):
            raise ValueError(f"{key} must be a dict of options, or None, got {given!r}")
        for name in given:
            if name not in cls._fields:
                near = difflib.get_close_matches(str(name), cls._fields, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise ValueError(
                    f"{key}: unknown option {name!r}; known are {', '.join(cls._fields)}.{hint}"
                )
        options = cls(**given)
        grids = {name: _square(getattr(options, name)) for name in ("query_hw", "pos_hw")}
        options = options._replace(**grids)
        if not isinstance(options.alpha, (list, tuple)) or len(options.alpha) != 2:
            raise ValueError(
                f"{key}.alpha must be two weights, of the views {' and '.join(VIEWS)}, got "
                f"{options.alpha!r}"
            )
        for weight in options.alpha:
            check_weight(f"{key}.alpha", weight)
        if not any(options.alpha):
            raise ValueError(f"{key}.alpha={options.alpha!r} leaves nothing: write {key}=None")
        for name in ("num_heads", "student_dims", "teacher_dims"):
            if getattr(options, name) is not None:
                check_integer(f"{key}.{name}", getattr(options, name), 2**15)
        for name in ("query_hw", "pos_hw"):
            if getattr(options, name) is not None:
                check_grid(f"{key}.{name}", getattr(options, name))
        if options.num_heads is not None and options.teacher_dims is not None:
            check_heads(f"{key}.num_heads", options.num_heads, options.teacher_dims)
        scales_of(options.softmax_scale, f"{key}.softmax_scale")
        check_choice(f"{key}.norm", options.norm, NORMS)
        for name in ("student_index", "teacher_index"):
            check_index(f"{key}.{name}", getattr(options, name))
        return options

    @property
    def lacks(self) -> bool:
        """Whether the models must tell something."""
        return None in (self.student_dims, self.teacher_dims, self.query_hw, self.pos_hw)

    def told(self, student: Sequence[int], teacher: Sequence[int]) -> "StageOptions":
        """With what is not given from (C, H, W) of both taps."""
        return self._replace(
            student_dims=self.student_dims or student[0],
            pos_hw=self.pos_hw or tuple(student[1:]),
            teacher_dims=self.teacher_dims or teacher[0],
            query_hw=self.query_hw or tuple(teacher[1:]),
        )


def _square(side: Any) -> Any:
    """(n, n) for a number n; what else is given as it is."""
    return (side, side) if isinstance(side, int) and not isinstance(side, bool) else side


def heads_for(channels: int) -> int:
    """One attention head for 64 channels, or fewer where that does not divide.

    >>> heads_for(1536), heads_for(100)
    (24, 1)
    """
    return max(h for h in range(1, max(1, channels // 64) + 1) if channels % h == 0)


class Stage(nn.Module):
    """A stage's projectors, one for each view that counts.

    Args:
        options: nothing of them is None.
        views: the views that are computed.
        learned_query: whether the projectors have queries of their own.
        key: begins the config keys in messages.
    """

    def __init__(
        self, options: StageOptions, views: Sequence[str], learned_query: bool, key: str
    ) -> None:
        super().__init__()
        for name in ("student_dims", "teacher_dims", "query_hw", "pos_hw"):
            if getattr(options, name) is None:
                raise ValueError(
                    f"{key}.{name}: expected it where the models do not tell it. Add it"
                )
        dims: Any = options.teacher_dims
        hw, pos = options.query_hw, options.pos_hw
        assert hw is not None and pos is not None
        self.options, self.key = options, key
        self.query_hw: Grid = (hw[0], hw[1])
        self.pos_hw: Grid = (pos[0], pos[1])
        self.views = nn.ModuleDict()
        scales = dict(zip(VIEWS, scales_of(options.softmax_scale, f"{key}.softmax_scale")))
        for view in views:
            self.views[view] = AttentionProjector(
                options.student_dims,  # type: ignore[arg-type]
                dims,
                self.query_hw,
                self.pos_hw,
                options.num_heads or heads_for(dims),
                scales[view],
                norm=options.norm,
                learned_query=learned_query,
                key=f"{key}.",
            )

    def student_map(self, output: Any) -> Tensor:
        """The student's map in what its tap gave."""
        index, key = self.options.student_index, f"{self.key} (student)"
        feat = as_map(output, key, index, self.pos_hw)
        self._check(feat, self.options.student_dims, self.pos_hw, ("student_dims", "pos_hw"))
        return feat

    def teacher_tokens(self, output: Any) -> Tensor:
        """The teacher's tokens (N, L, C) in what its tap gave."""
        index, key = self.options.teacher_index, f"{self.key} (teacher)"
        feat = as_map(output, key, index, self.query_hw)
        self._check(feat, self.options.teacher_dims, self.query_hw, ("teacher_dims", "query_hw"))
        return as_tokens(feat)

    def _check(self, feat: Tensor, dims: Any, grid: Grid, names: Tuple[str, str]) -> None:
        if feat.shape[1] != dims or tuple(feat.shape[2:]) != grid:
            own, size = (f"{self.key}.{name}" for name in names)
            raise FeatureError(
                f"{own}={dims} and {size}={grid}: expected a map (N, {dims}, {grid[0]}, {grid[1]}) "
                f"from the {names[0].split('_')[0]}'s tap, got {tuple(feat.shape)}. Correct the "
                "numbers, tap another module, or give all images one size"
            )

    def forward(self, feat: Tensor, queries: Mapping[str, Tensor] = NOTHING) -> Dict[str, Tensor]:
        """View -> tokens (N, L, C).

        Args:
            feat: (N, C_s, h, w).
            queries: view -> (N, L, C); a view that is not in it uses its own.
        """
        found = {}
        for view, projector in self.views.items():
            args = [feat, queries[view]] if view in queries else [feat]
            low = feat.device.type != "cpu" or torch.is_autocast_cpu_enabled()
            exact = view == "frequency" and not low and feat.dtype != torch.float64
            found[view] = in_float64(projector, *args) if exact else projector(*args)
        return found


def in_float64(module: nn.Module, *args: Tensor) -> Tensor:
    """``module(*args)`` in float64; its parameters and buffers keep their precision.

    Tokens that differ little from place to place leave few digits once their mean is taken off: the
    gradients of a run in float32 are then off by some thousandths. A CPU has float64 at half speed.
    """
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    wide = {name: x.double() for name, x in state.items() if x.is_floating_point()}
    out: Tensor = functional_call(module, wide, tuple(x.double() for x in args))
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            if name in wide:
                buffer.copy_(wide[name])
    return out
