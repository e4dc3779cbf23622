"""A student's stage projected onto the teacher's tokens, and compared with them in two views."""

from typing import Any, Dict, Mapping, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

try:
    from torch.func import functional_call
except ImportError:  # torch < 2.0
    from torch.nn.utils.stateless import functional_call  # type: ignore[assignment]

from freekd.checks import FeatureError
from freekd.widen import widened

from .projector import AttentionProjector, Grid, scales_of
from .stage_options import NOTHING, VIEWS, StageOptions
from .tokens import as_map, as_tokens


def view_loss(tokens: Tensor, target: Tensor, without_mean: bool = False) -> Tensor:
    """One view, before its weight, in float32 at least: 1/N sum |nrm(tokens) - nrm(target)|^2.

    Args:
        tokens: (N, L, C).
        target: likewise, of the teacher; no gradient flows into it.
        without_mean: whether the mean over positions is taken off both, which is the zero frequency
            of a discrete cosine transform.

    >>> tokens = torch.tensor([[[3.0, 4.0], [0.0, 2.0]]])
    >>> view_loss(tokens, torch.tensor([[[0.0, 1.0], [0.0, 5.0]]]))  # .6^2 + .2^2
    tensor(0.4000)
    """
    tokens, target = widened(tokens), widened(target.detach())
    if without_mean:
        tokens = tokens - tokens.mean(1, keepdim=True)
        target = target - target.mean(1, keepdim=True)
    apart = F.normalize(tokens, dim=-1) - F.normalize(target, dim=-1)
    return apart.square().sum() / max(1, len(tokens))


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
