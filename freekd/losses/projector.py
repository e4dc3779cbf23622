"""The attention projector: from a student's map to tokens on the teacher's grid.

A query for each place of the teacher's map asks all places of the student's:

    f   = up(relu(norm(conv3x3(x)))) + E,              as tokens (N, L, C_s)
    q   = relu(Q_0 W_q + b_q)
    o   = softmax(tau / sqrt(d) (q W_Q + b_Q)(f W_K + b_K)^T) (f W_V + b_V),  in each of h heads
    y   = LayerNorm(o W_O + b_O),                      C = h d channels
    out = y + W_2 relu(W_1 y + b_1) + b_2

with a learned map E, a learned table Q_0 (or queries from elsewhere) and a hidden width of 4 C.
Two methods share it; each has several, with parameters of their own.
"""

import math
from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from freekd.checks import (
    FeatureError,
    check_choice,
    check_flag,
    check_integer,
    check_temperature,
)

Grid = Tuple[int, int]  # height, width
NORMS = ("batch", "layer")
UPSAMPLES = (None, 1, 2)
MOST = 4096  # of a grid's height and width


def check_grid(key: str, value: Any) -> None:
    """Raise ValueError, naming the key, unless ``value`` is a height and a width."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"{key} must be (height, width), such as (7, 7), got {value!r}")
    for side in value:
        check_integer(key, side, MOST)


def check_heads(key: str, num_heads: Any, teacher_dims: int) -> None:
    """Raise ValueError unless ``teacher_dims`` channels are divisible by the number of heads.

    Args:
        key: of ``num_heads``; the message has both numbers and those that would do.
    """
    check_integer(key, num_heads, 2**15)
    if teacher_dims % num_heads:
        fitting = [h for h in range(1, teacher_dims + 1) if teacher_dims % h == 0]
        near = sorted(sorted(fitting, key=lambda h: abs(h - num_heads))[:3])
        raise ValueError(
            f"{key}={num_heads}: the teacher's {teacher_dims} channels are not divisible by it; "
            f"give a number that divides them, such as {', '.join(map(str, near))}"
        )


def scales_of(value: Any, key: str) -> Tuple[float, float]:
    """``softmax_scale`` of two projectors: a pair, or one number for both.

    Raises:
        ValueError: neither; names the key.

    >>> scales_of(5, "softmax_scale")
    (5.0, 5.0)
    """
    pair = list(value) if isinstance(value, (list, tuple)) else [value, value]
    if len(pair) != 2:
        raise ValueError(f"{key} must be a number, or one for each of 2 projectors, got {value!r}")
    for one in pair:
        check_temperature(key, one)
    return float(pair[0]), float(pair[1])


def upsampling(key: str, student_hw: Sequence[int], pos_hw: Grid, upsample: Optional[int]) -> int:
    """By what the student's map is enlarged to the position map's size: 1 or 2.

    Args:
        key: begins the keys of a message: ``pair.losses.x.``, or nothing.
        student_hw: height and width of the student's map.
        pos_hw: of the position map.
        upsample: what the config says; None: what these two tell.

    Raises:
        FeatureError: the enlarged map is not ``pos_hw``; says all numbers, and what to write.

    >>> upsampling("", (7, 7), (14, 14), None)
    2
    """
    given = tuple(student_hw)
    for factor in (1, 2) if upsample is None else (upsample,):
        if tuple(factor * side for side in given) == tuple(pos_hw):
            return factor
    said = "1 or 2" if upsample is None else str(upsample)
    raise FeatureError(
        f"{key}pos_hw={tuple(pos_hw)}, but the student's map is {given}, and {key}upsample={said}: "
        f"enlarged it must have the size pos_hw. Set {key}pos_hw to {given}, or to "
        f"{tuple(2 * side for side in given)} with {key}upsample=2, or train on images of another "
        "size"
    )


class AttentionProjector(nn.Module):
    """See the module's equations.

    Args:
        student_dims: C_s, channels of the student's map.
        teacher_dims: C, channels of the tokens that come out.
        query_hw: (H, W), the grid of these tokens: the size of the teacher's map.
        pos_hw: size of the position map E: that of the student's map, enlarged.
        num_heads: h; it divides ``teacher_dims``.
        softmax_scale: tau.
        upsample: 1, or 2: the map is enlarged by 2 (bilinear, half-pixel centres); None: what
            ``pos_hw`` and the student's map tell.
        norm: ``batch``, batch norm; ``layer``, over the channels of each place.
        learned_query: whether there is a table Q_0. Without one, every call gives its queries.
        key: begins the config keys in messages, such as ``stage4.``.

    The first weights are torch's defaults, but N(0, 1) in the table and a normal of standard
    deviation 0.02, cut at 2, in the position map.

    Raises:
        ValueError: a value of another kind, or heads that do not divide; names the key.
    """

    def __init__(
        self,
        student_dims: int,
        teacher_dims: int,
        query_hw: Sequence[int],
        pos_hw: Sequence[int],
        num_heads: int,
        softmax_scale: float = 5.0,
        upsample: Optional[int] = 1,
        norm: str = "batch",
        learned_query: bool = True,
        key: str = "",
    ) -> None:
        super().__init__()
        check_integer(f"{key}student_dims", student_dims, 2**15)
        check_integer(f"{key}teacher_dims", teacher_dims, 2**15)
        check_grid(f"{key}query_hw", query_hw)
        check_grid(f"{key}pos_hw", pos_hw)
        check_heads(f"{key}num_heads", num_heads, teacher_dims)
        check_temperature(f"{key}softmax_scale", softmax_scale)
        check_choice(f"{key}upsample", upsample, UPSAMPLES)
        check_choice(f"{key}norm", norm, NORMS)
        check_flag(f"{key}learned_query", learned_query)
        self.key, self.upsample, self.num_heads = key, upsample, num_heads
        self.query_hw: Grid = (query_hw[0], query_hw[1])
        self.pos_hw: Grid = (pos_hw[0], pos_hw[1])
        self.softmax_scale = float(softmax_scale)
        self.student_conv = nn.Conv2d(student_dims, student_dims, 3, padding=1)
        self.student_norm = (
            nn.BatchNorm2d(student_dims) if norm == "batch" else ChannelNorm(student_dims)
        )
        self.position = nn.Parameter(torch.empty(1, student_dims, *self.pos_hw))
        self.query_table = (
            nn.Embedding(self.query_hw[0] * self.query_hw[1], teacher_dims)
            if learned_query
            else None
        )
        self.query_conv = nn.Conv2d(teacher_dims, teacher_dims, 1)
        self.attn_query = nn.Linear(teacher_dims, teacher_dims)
        self.attn_key = nn.Linear(student_dims, teacher_dims)
        self.attn_value = nn.Linear(student_dims, teacher_dims)
        self.attn_out = nn.Linear(teacher_dims, teacher_dims)
        self.out_norm = nn.LayerNorm(teacher_dims)
        self.ffn_in = nn.Linear(teacher_dims, 4 * teacher_dims)
        self.ffn_out = nn.Linear(4 * teacher_dims, teacher_dims)
        nn.init.trunc_normal_(self.position, std=0.02)

    def check_student(self, shape: Sequence[int]) -> None:
        """Before training: whether a student's map of this shape, (N, C_s, h, w), fits.

        Raises:
            FeatureError: it does not; see :func:`upsampling`.
        """
        dims = self.student_conv.in_channels
        if len(shape) != 4 or shape[1] != dims:
            raise FeatureError(
                f"{self.key}student_dims={dims}: expected the student's map as (N, {dims}, h, w), "
                f"got {tuple(shape)}. Tap a map of {dims} channels, or change the number"
            )
        upsampling(self.key, shape[-2:], self.pos_hw, self.upsample)

    def check_query(self, shape: Optional[Sequence[int]]) -> None:
        """Whether queries of this shape fit; None: there are none but the table's.

        Raises:
            FeatureError: they do not, or there is no table either.
        """
        height, width = self.query_hw
        dims = self.attn_query.in_features
        if shape is None and self.query_table is None:
            raise FeatureError(
                f"{self.key}learned_query=False: there is no table of queries, and none are given"
            )
        if shape is not None and tuple(shape[1:]) != (height * width, dims):
            raise FeatureError(
                f"{self.key}query_hw={self.query_hw}: expected queries (N, {height * width}, "
                f"{dims}), got {tuple(shape)}. Set {self.key}query_hw to the grid of the queries"
            )

    def forward(self, x: Tensor, query: Optional[Tensor] = None) -> Tensor:
        """Tokens (N, H W, C), row by row.

        Args:
            x: (N, C_s, h, w).
            query: (N, H W, C): used in the table's place, even where there is one.

        Raises:
            FeatureError: sizes that do not fit; names the key, the numbers and the remedy.
        """
        self.check_student(x.shape)
        self.check_query(None if query is None else query.shape)
        if query is None:
            assert self.query_table is not None  # check_query
            query = self.query_table.weight[None]  # one for all images: nothing is repeated
        tokens = self.attend(self.queries(query), self.student_tokens(x))
        y = self.out_norm(self.attn_out(tokens))
        out: Tensor = y + self.ffn_out(self.ffn_in(y).relu())
        return out

    def student_tokens(self, x: Tensor) -> Tensor:
        """f, (N, L, C_s)."""
        f = self.student_norm(self.student_conv(x.to(self.position.dtype))).relu()
        if tuple(f.shape[-2:]) != self.pos_hw:
            f = F.interpolate(f, scale_factor=2.0, mode="bilinear", align_corners=False)
        tokens: Tensor = (f + self.position).flatten(2).transpose(1, 2)
        return tokens

    def queries(self, query: Tensor) -> Tensor:
        """q W_Q + b_Q, times tau / sqrt(d), in heads: (N or 1, h, H W, d)."""
        weight, bias = self.query_conv.weight.flatten(1), self.query_conv.bias
        q = self.attn_query(F.linear(query.to(self.position.dtype), weight, bias).relu())
        return self._heads(q * (self.softmax_scale / math.sqrt(q.shape[-1] // self.num_heads)))

    def attend(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Softmax over the student's tokens (N, L, C_s); (N, H W, C), heads side by side."""
        keys, values = self._heads(self.attn_key(tokens)), self._heads(self.attn_value(tokens))
        weights = (queries @ keys.transpose(-1, -2)).softmax(-1)
        return (weights @ values).transpose(1, 2).flatten(2)

    def _heads(self, tokens: Tensor) -> Tensor:
        """(N, L, C) as (N, h, L, d)."""
        return tokens.view(*tokens.shape[:2], self.num_heads, -1).transpose(1, 2)

    def extra_repr(self) -> str:
        parts: List[str] = [f"query_hw={self.query_hw}", f"pos_hw={self.pos_hw}"]
        parts += [f"num_heads={self.num_heads}", f"softmax_scale={self.softmax_scale:g}"]
        return ", ".join(parts)


class ChannelNorm(nn.LayerNorm):
    """Layer norm of (N, C, H, W) over the channels of each place."""

    def forward(self, feat: Tensor) -> Tensor:
        """The same shape."""
        out: Tensor = super().forward(feat.permute(0, 2, 3, 1))
        return out.permute(0, 3, 1, 2)
