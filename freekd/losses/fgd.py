"""``FGDLoss``: boxes and background apart, and the map's context (Yang et al.).

With a channel's and a position's attention, from the mean of |x| over the others, at temperature T,

    A^S(x) = H W softmax( mean_c |x| / T ),    A^C(x) = C softmax( mean_hw |x| / T ),

and the scale S = 1 / (h_r w_r) in a box r, 1 / N_bg outside of all (N_bg: how many such positions):

    L_focal  = sum ( alpha M + beta (1 - M) ) S A^S(t) A^C(t) (s - t)^2,    M: 1 in a box, else 0
    L_att    = gamma ( sum |A^S(s) - A^S(t)| + sum |A^C(s) - A^C(t)| )
    L_global = lambda sum ( R(s) - R(t) )^2
    R(x)     = x + W2 ReLU(LN(W1 sum_j softmax_j(Wk x_j) x_j))

with j the positions. The three are added; sums are per image, and their mean over images counts.
"""

from typing import Any, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from freekd.checks import check_temperature, check_weight
from freekd.widen import widened

from .align import Feats
from .card import Bundled, Card
from .levels import Channels, LevelsLoss
from .parts import again, channels_at_a_time
from .places import batch_boxes, cells, check_images
from .step import Step


def box_scales(
    boxes: Sequence[Sequence[float]], image: Sequence[int], size: Sequence[int]
) -> Tuple[Tensor, Tensor]:
    """M S and (1 - M) S of one image, each (H, W) in float32 on the CPU.

    A box holds the cells of the map that it touches, at least one. Where boxes overlap, the
    smallest one's scale counts, which is the largest.

    Args:
        boxes: (x1, y1, x2, y2) in pixels.
        image: (height, width) of the images as the model gets them, padding included, for that is
            what the map covers.
        size: (H, W).

    >>> inside, outside = box_scales([(0, 0, 16, 8)], image=(16, 32), size=(2, 4))
    >>> inside.tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    >>> [round(x, 4) for x in outside[0].tolist()]
    [0.0, 0.0, 0.1667, 0.1667]
    """
    spans = []
    for x1, y1, x2, y2 in boxes:
        top, bottom = cells(y1, y2, size[0] / image[0], size[0])
        left, right = cells(x1, x2, size[1] / image[1], size[1])
        spans.append(((bottom - top) * (right - left), top, bottom, left, right))
    inside = torch.zeros(tuple(size))
    for area, top, bottom, left, right in sorted(spans, reverse=True):  # the smallest last
        inside[top:bottom, left:right] = 1 / area
    outside = (inside == 0).float()
    return inside, outside / outside.sum().clamp(min=1)


class Seen(NamedTuple):
    """What the loss sees of a map; each row an image's."""

    spatial: Tensor  # A^S (N, H W)
    channel: Tensor  # A^C (N, C)


def attention(by_place: Tensor, by_channel: Tensor, temperature: float) -> Seen:
    """A^S and A^C from the means of |x|: over channels (N, H W), over positions (N, C)."""
    sides = [
        torch.softmax(side / temperature, 1) * side.shape[1] for side in (by_place, by_channel)
    ]
    return Seen(*sides)


class ContextBlock(nn.Module):
    """What R adds to a map of C channels: the same at each position. It begins at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.key = nn.Linear(channels, 1)
        self.change = nn.Sequential(
            nn.Linear(channels, inner),
            nn.LayerNorm(inner),
            nn.ReLU(inplace=True),
            nn.Linear(inner, channels),
        )
        nn.init.kaiming_normal_(self.key.weight)
        nn.init.zeros_(self.key.bias)
        for parameter in self.change[3].parameters():
            nn.init.zeros_(parameter)

    def forward(self, pieces: Sequence[Tensor]) -> Tensor:
        """(N, C).

        Args:
            pieces: a map (N, C, H, W), some channels after the others.
        """
        keys = self.key.weight.split([piece.shape[1] for piece in pieces], 1)
        logits: Any = sum(again(_product, piece, key) for piece, key in zip(pieces, keys))
        places = (logits + self.key.bias).softmax(2).transpose(1, 2)  # (N, H W, 1)
        context = torch.cat([again(_average, piece, places) for piece in pieces], 1)
        changed: Tensor = self.change(context)
        return changed


def _product(piece: Tensor, key: Tensor) -> Tensor:
    return key @ widened(piece).flatten(2)


def _average(piece: Tensor, places: Tensor) -> Tensor:
    return (widened(piece).flatten(2) @ places).squeeze(2)


def _strengths(piece: Tensor) -> Tuple[Tensor, Tensor]:
    """|x| of some channels: its sum over them (N, H W), its means over positions (N, c)."""
    strength = widened(piece).flatten(2).abs()
    return strength.sum(1), strength.mean(2)


def _differences(piece: Tensor, teacher: Tensor, channel: Tensor) -> Tuple[Tensor, ...]:
    """Of some channels: sum_c A^C d^2 (N, H W), sum d^2 (N), sum_hw d (N, c), with d = s - t."""
    difference = (widened(piece) - widened(teacher)).flatten(2)
    squares = difference.square()
    by_place = (channel.unsqueeze(1) @ squares).squeeze(1)
    return by_place, squares.sum((1, 2)), difference.sum(2)


class Weights(NamedTuple):
    """Of the four terms."""

    alpha: float  # in the boxes
    beta: float  # outside
    gamma: float  # attention
    context: float  # lambda


def fgd_loss(
    student: Tensor,
    teacher: Tensor,
    scales: Tuple[Tensor, Tensor],
    contexts: Sequence[nn.Module],
    weights: Weights,
    temperature: float,
) -> Tensor:
    """The equation of the module.

    All of it comes from a few sums over channels or positions, so that the maps are read a few
    channels at a time. With a = W2 ReLU(..) of s minus that of t, and d = s - t, the last term is
    sum (d + a)^2 = sum d^2 + 2 sum_c a_c sum_hw d + H W sum_c a_c^2.

    Args:
        student, teacher: (N, C, H, W), aligned. No gradient flows into ``teacher``.
        scales: M S and (1 - M) S, each (N, H, W), see :func:`box_scales`.
        contexts: what R adds to the student's map and to the teacher's, each by a block of its
            own: :class:`ContextBlock`, or what takes and gives the same.
        weights: alpha, beta, gamma, lambda.
        temperature: T.
    """
    step = channels_at_a_time(student)
    ours, theirs = student.split(step, 1), teacher.detach().split(step, 1)
    seen = [_attention_of(pieces, temperature) for pieces in (ours, theirs)]
    found = [
        again(_differences, *parts) for parts in zip(ours, theirs, seen[1].channel.split(step, 1))
    ]
    by_place, squares, sums = zip(*found)
    inside, outside = (scale.to(seen[1].spatial).flatten(1) for scale in scales)
    place = seen[1].spatial * (weights.alpha * inside + weights.beta * outside)
    focal = (torch.stack(by_place).sum(0) * place).sum()
    masks = torch.stack([(a - b).abs().sum() for a, b in zip(*seen)]).sum()
    added = contexts[0](ours) - contexts[1](theirs)
    whole = torch.stack(squares).sum() + 2 * (added * torch.cat(sums, 1)).sum()
    whole = whole + place.shape[1] * added.square().sum()
    total: Tensor = focal + weights.gamma * masks + weights.context * whole
    return total / max(1, len(student))


def _attention_of(pieces: Sequence[Tensor], temperature: float) -> Seen:
    sums, means = zip(*(again(_strengths, piece) for piece in pieces))
    by_channel = torch.cat(means, 1)
    return attention(torch.stack(sums).sum(0) / by_channel.shape[1], by_channel, temperature)


class FGDLoss(LevelsLoss):
    """Focal and global distillation, summed over levels; the equation of the module.

    Args:
        student_channels, teacher_channels, num_levels, align: as in
            :class:`freekd.losses.levels.LevelsLoss`.
        alpha: weight of the squared difference in the boxes.
        beta: outside of them.
        gamma: of the attention's difference.
        lambda_global: of the difference with context. The defaults of the four are the paper's for
            one-stage detectors with anchors. Two-stage detectors: 5e-5, 2.5e-5, 5e-5, 5e-7; without
            anchors: 1.6e-3, 8e-4, 8e-4, 8e-6.
        temperature: T of both attentions, at least 0.001.
        loss_weight: multiplies all four.

    Raises:
        ValueError: an option out of range; names the config key.
    """

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        LevelsLoss.check_options(options, key)
        for name in ("alpha", "beta", "gamma", "lambda_global"):
            if name in options:
                check_weight(f"{key}.{name}", options[name])
        if "temperature" in options:
            check_temperature(f"{key}.temperature", options["temperature"])

    def __init__(
        self,
        student_channels: Channels,
        teacher_channels: Channels,
        num_levels: int,
        alpha: float = 1e-3,
        beta: float = 5e-4,
        gamma: float = 1e-3,
        lambda_global: float = 5e-6,
        temperature: float = 0.5,
        align: Optional[str] = "auto",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(student_channels, teacher_channels, num_levels, align, loss_weight)
        self.check_options(
            dict(
                alpha=alpha, beta=beta, gamma=gamma, lambda_global=lambda_global,
                temperature=temperature,
            ),
            "fgd",
        )  # fmt: skip
        self.weights = Weights(alpha, beta, gamma, lambda_global)
        self.temperature = float(temperature)
        self.contexts = nn.ModuleList(
            nn.ModuleList([ContextBlock(channels), ContextBlock(channels)])
            for channels in self.teacher_channels
        )

    def forward(
        self, student_feats: Feats, teacher_feats: Feats, step: Optional[Step] = None
    ) -> Tensor:
        """A scalar, ``loss_weight`` included; float32 also under autocast.

        Args:
            student_feats: (N, C_s, H_s, W_s), or a tuple of such, one per level.
            teacher_feats: (N, C, H, W), likewise. No gradient flows into them.
            step: of this training step; its batch must have ``gt_bboxes`` and ``img``.

        Raises:
            FeatureError: levels or channels are not those of the config, or there are no boxes.
        """
        boxes, image = batch_boxes(step, "fgd")

        def of_level(level: int, student: Tensor, teacher: Tensor) -> Tensor:
            check_images(boxes, teacher, "fgd")
            made = [box_scales(of_image, image, teacher.shape[-2:]) for of_image in boxes]
            inside, outside = (torch.stack(side).to(teacher.device) for side in zip(*made))
            scales, contexts = (inside, outside), self._contexts(level)
            return fgd_loss(student, teacher, scales, contexts, self.weights, self.temperature)

        return self.summed(student_feats, teacher_feats, of_level)

    def _contexts(self, level: int) -> Sequence[nn.Module]:
        blocks: Any = self.contexts[level]
        return list(blocks)

    def extra_repr(self) -> str:
        return f"{self.weights}, temperature={self.temperature:g}, loss_weight={self.loss_weight:g}"


def _hint(loss: FGDLoss) -> str:
    """The paper's weights."""
    return (
        "the paper: the defaults for one-stage detectors with anchors, about a twentieth "
        "(loss_weight=0.05) for two-stage ones; sums, so the maps' size counts"
    )


CARD = Card(
    name="fgd",
    title="FGD",
    summary="Boxes and background apart, where the teacher's attention is, and the map's context.",
    module=FGDLoss,
    paper="Focal and Global Knowledge Distillation for Detectors, CVPR 2022, "
    "https://arxiv.org/abs/2111.11837",
    tasks=("det",),
    taps=dict(det="neck"),
    needs=("boxes",),
    hint=_hint,
    bundled=dict(det=dict(fgd=Bundled("configs/fgd/retinanet_r34_r18_digits.py", "FGD", "FGD"))),
)
