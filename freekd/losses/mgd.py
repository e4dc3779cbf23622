"""``MGDLoss``: the teacher's map generated from a masked map of the student (Yang et al.).

    L = alpha 1/N sum (G(m phi(s)) - t)^2,    G(x) = W2 * ReLU(W1 * x)

with W1, W2 convolutions 3x3 from the teacher's channels to the same, and m a random mask: 0 at a
share lambda of the positions, with all their channels (detection, segmentation), or of the
channels, at all positions (classification); 1 elsewhere. The sum is over channels and positions.
"""

from typing import Any, Mapping, Optional, Sequence

import torch
from torch import Tensor, nn

from freekd.checks import check_choice, check_share
from freekd.widen import widened

from .card import Bundled, Card, Case, Outcome, Published
from .levels import Channels, LevelsLoss
from .parts import FEWEST, parts, sum_over_parts

MASKS = ("spatial", "channel")
MASKED = "the share masked (of a map that is masked wholly nothing is learned)"


def generated(block: nn.Sequential, feat: Tensor, above: int, below: int) -> Tensor:
    """G of some rows of a map, as it is in the whole map.

    Args:
        block: W1, ReLU, W2.
        feat: (N, C, h, W): the rows, and beside them up to two neighbours on each side, all that
            the map has.
        above, below: how many neighbours there are.
    """
    # beside the second neighbour W1 saw zeros where the map has rows: its row is cut before W2
    hidden = block[1](block[0](feat))
    hidden = hidden[:, :, max(0, above - 1) : hidden.shape[2] - max(0, below - 1)]
    out: Tensor = block[2](hidden)
    return out[:, :, min(above, 1) : out.shape[2] - min(below, 1)]


class MGDLoss(LevelsLoss):
    """Masked generative distillation, summed over levels; the equation of the module.

    Each level has its own generation block, with torch's own initialisation. The mask is drawn anew
    in each call, see :meth:`draw_mask`.

    Args:
        student_channels, teacher_channels, num_levels, align: as in
            :class:`freekd.losses.levels.LevelsLoss`.
        mask: ``spatial``: whole positions; ``channel``: whole channels, as in classification.
        mask_share: lambda, from 0 to below 1: how likely a position, or a channel, is masked. The
            paper: 0.65 for one-stage detectors, 0.45 for two-stage ones, 0.75 for segmentation,
            0.15 for classification.
        loss_weight: alpha. The paper: 2e-5 for one-stage detectors and segmentation, 5e-7 for
            two-stage detectors, 7e-5 for classification.

    Raises:
        ValueError: an option out of range; names the config key.
    """

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        LevelsLoss.check_options(options, key)
        if "mask" in options:
            check_choice(f"{key}.mask", options["mask"], MASKS)
        if "mask_share" in options:
            check_share(f"{key}.mask_share", options["mask_share"], MASKED, whole=False)

    def __init__(
        self,
        student_channels: Channels,
        teacher_channels: Channels,
        num_levels: int,
        mask: str = "spatial",
        mask_share: float = 0.65,
        align: Optional[str] = "auto",
        loss_weight: float = 2e-5,
    ) -> None:
        super().__init__(student_channels, teacher_channels, num_levels, align, loss_weight)
        check_choice("mask", mask, MASKS)
        check_share("mask_share", mask_share, MASKED, whole=False)
        self.mask = mask
        self.mask_share = float(mask_share)
        self.generate = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for channels in self.teacher_channels
        )

    def draw_mask(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """m of one level, 0 or 1, from torch's default generator; to be overridden in tests.

        Args:
            shape: (N, 1, H, W), or (N, C, 1, 1) with ``mask='channel'``.
            device: of the maps.
        """
        return (torch.rand(tuple(shape), device=device) >= self.mask_share).float()

    def _block(self, level: int) -> nn.Sequential:
        block: Any = self.generate[level]
        assert isinstance(block, nn.Sequential)
        return block

    def level_loss(self, level: int, student: Tensor, teacher: Tensor) -> Tensor:
        """The equation of the module, without alpha."""
        count, channels, height, width = student.shape
        spatial = self.mask == "spatial"
        shape = (count, 1, height, width) if spatial else (count, channels, 1, 1)
        mask, generate = self.draw_mask(shape, student.device), self._block(level)

        # a few rows at a time, with the two beside them that both convolutions look at
        step = max(8, -(-height // FEWEST)) if student.device.type == "cpu" else height
        rows = parts(height, step)
        seen = [slice(max(0, row.start - 2), min(height, row.stop + 2)) for row in rows]
        wanted = {(part.start, part.stop): row for part, row in zip(seen, rows)}

        def of_rows(part: slice, piece: Tensor) -> Tensor:
            row, piece = wanted[part.start, part.stop], widened(piece)
            kept = mask if self.mask == "channel" else mask[:, :, part]
            neighbours = row.start - part.start, part.stop - row.stop
            made = generated(generate, piece * kept.to(piece.dtype), *neighbours)
            return (made - widened(teacher[:, :, row])).square().sum() / max(1, count)

        return sum_over_parts(of_rows, student, 2, seen, list(generate.parameters()))

    def extra_repr(self) -> str:
        return f"mask={self.mask!r}, share={self.mask_share:g}, loss_weight={self.loss_weight:g}"


def golden(case: Case) -> Outcome:
    """The reference's numbers of the form for classification."""
    student, teacher = case.inputs["student"], case.inputs["teacher"]
    share = float(case.options["lambda_mgd"])
    loss = MGDLoss(
        int(case.options["student_channels"]),
        int(case.options["teacher_channels"]),
        num_levels=1,
        mask="channel",
        mask_share=share,
        loss_weight=float(case.options["alpha_mgd"]),
    ).to(student.dtype)
    block: Any = loss.generate[0]
    layers = {"gen_conv1": block[0], "gen_conv2": block[2]}
    if loss.align is not None:
        layers["align"] = loss.align[0]
    parameters = {
        f"{name}_{kind}": getattr(layer, kind)
        for name, layer in layers.items()
        for kind in ("weight", "bias")
    }
    with torch.no_grad():
        for name, value in case.parameters.items():
            parameters[name].copy_(value)
    kept = (case.draws["channel_draw"] >= share).to(student.dtype)
    loss.draw_mask = lambda shape, device: kept.view(tuple(shape))  # type: ignore[method-assign]
    return Outcome(dict(loss=loss(student, teacher)), parameters)


def _hint(loss: MGDLoss) -> str:
    """The weights of the paper."""
    if loss.mask == "channel":
        return (
            "the reference's configs for classification: loss_weight=7e-5 on ImageNet and 1.2e-3 "
            "on CIFAR-100, with mask_share=0.15; a sum, so the map's size and channels count"
        )
    return (
        "the paper: loss_weight=2e-5 with mask_share=0.65 for one-stage detectors, 5e-7 with 0.45 "
        "for two-stage ones, 2e-5 with 0.75 for segmentation; a sum, so the maps' size counts"
    )


_SOURCE = "the authors' repository, https://github.com/yzd-v/MGD"

CARD = Card(
    name="mgd",
    title="MGD",
    summary="The teacher's map, generated by two convolutions from a masked map of the student.",
    module=MGDLoss,
    paper="Masked Generative Distillation, ECCV 2022, https://arxiv.org/abs/2205.01529",
    tasks=("det", "seg", "cls"),
    taps=dict(det="neck", seg="backbone.layer4", cls="backbone"),
    of_task=dict(cls=dict(mask="channel", mask_share=0.15, loss_weight=7e-5)),
    hint=_hint,
    bundled=dict(
        det=dict(mgd=Bundled("configs/mgd/retinanet_r34_r18_digits.py", "MGD", "MGD")),
        cls=dict(mgd=Bundled("configs/mgd/resnet34_resnet18_digits_cls.py", "MGD", "MGD")),
    ),
    published=(
        Published("ResNet-34 -> ResNet-18", "ImageNet top-1", 69.90, 71.69, _SOURCE),
        Published("ResNet-50 -> MobileNetV1", "ImageNet top-1", 69.21, 72.49, _SOURCE),
    ),
    golden=golden,
)
