"""``ViTKDLoss``: a transformer's first blocks mimicked, its last one generated (Yang et al.).

With the patch tokens of blocks 1 and 2 and of the last block after the final norm, P of width D:

    L = alpha 1/N sum_{l=1,2} |phi_l(s_l) - t_l|^2 + beta / lambda 1/N sum_p M_p |g(h)_p - t_p|^2

with phi linear from the student's width to the teacher's, h = phi(s) with a learned mask token in
the place of a random share lambda of the tokens (M = 1 there), and g two convolutions 3x3 on the
grid of tokens with a ReLU between. The sums are over tokens and channels.
"""

from typing import Any, Dict, List, Mapping, Sequence, Tuple

import torch
from torch import Tensor, nn

from freekd.checks import FeatureError, check_channels, check_share, check_weight
from freekd.widen import widened

from .card import Card, Case, Outcome, Published
from .step import Step
from .tokens import as_tokens, grid_side, patch_tokens, tokens_as_map

LOW = ("first", "second")
TAPS = (*LOW, "last")
MASKED = "the share of tokens masked"


def kept_tokens(draw: Tensor, mask_share: float) -> Tensor:
    """Which tokens stay: the floor(P (1 - lambda)) with the smallest numbers in each image.

    Args:
        draw: (N, P) random numbers.
        mask_share: lambda.

    Returns:
        (N, P) bool.

    >>> kept_tokens(torch.tensor([[0.9, 0.1, 0.5, 0.3]]), 0.5)
    tensor([[False,  True, False,  True]])
    """
    count = int(draw.shape[1] * (1 - mask_share))
    smallest = draw.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros_like(draw, dtype=torch.bool).scatter(1, smallest, True)


def mimic_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Squared differences of each pair of tokens (N, P, D), summed, for one image."""
    terms = [(s - t).square().sum() / max(1, len(s)) for s, t in zip(student, teacher)]
    return torch.stack(terms).sum()


class ViTKDLoss(nn.Module):
    """The equation of the module.

    The linear layers, the convolutions and the mask token are trained with the student and are no
    part of it. They have torch's own initialisation, the mask token zeros. Which tokens are masked
    is drawn anew in each call, see :meth:`draw`.

    Args:
        student_channels, teacher_channels: widths at the taps ``first``, ``second`` and ``last``.
        alpha: weight of the first two blocks.
        beta: weight of the last.
        mask_share: lambda, above 0 and below 1.
        loss_weight: of the whole term.

    Raises:
        ValueError: an option out of range; names the config key.
    """

    named_taps = True
    widens = True

    @staticmethod
    def check_options(options: Mapping[str, Any], key: str) -> None:
        """What a config says, by its config keys; raises ValueError."""
        for name in ("alpha", "beta", "loss_weight"):
            if name in options:
                check_weight(f"{key}.{name}", options[name])
        if "mask_share" in options:
            check_share(f"{key}.mask_share", options["mask_share"], MASKED, whole=False)
            if options["mask_share"] == 0:
                raise ValueError(f"{key}.mask_share must be above 0: it divides the loss")

    def __init__(
        self,
        student_channels: Mapping[str, int],
        teacher_channels: Mapping[str, int],
        alpha: float = 3e-5,
        beta: float = 3e-6,
        mask_share: float = 0.5,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        options = dict(alpha=alpha, beta=beta, mask_share=mask_share, loss_weight=loss_weight)
        self.check_options(options, "vitkd")
        self.student_width = _width("student", student_channels)
        self.teacher_width = width = _width("teacher", teacher_channels)
        self.alpha, self.beta = float(alpha), float(beta)
        self.mask_share, self.loss_weight = float(mask_share), float(loss_weight)
        self.align = nn.ModuleDict(
            {
                name: nn.Linear(self.student_width, width)
                for name in TAPS
                if self.student_width != width
            }
        )
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.generate = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def draw(self, images: int, tokens: int, device: torch.device) -> Tensor:
        """Random numbers (N, P) from torch's default generator; to be overridden in tests."""
        return torch.rand(images, tokens, device=device)

    # ----------------------------------------------------------------- before training
    def check_taps(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], step: Step, key: str
    ) -> None:
        """What the taps gave for a blank image.

        Raises:
            FeatureError: no tokens, of another width, other grids, or grids that are no squares;
                names the taps and both numbers.
        """
        self._tokens(student, teacher, step, key)

    def _tokens(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], step: Step, key: str
    ) -> Tuple[Dict[str, Tensor], Dict[str, Tensor]]:
        """The patch tokens of each tap in both models, in float32 at least."""
        sides = []
        models = (step.student, step.teacher)
        widths = (self.student_width, self.teacher_width)
        for who, given, model, paths, width in zip(
            ("student", "teacher"), (student, teacher), models, step.paths, widths
        ):
            leading = step.task.leading_tokens(model)
            found = {}
            for name in TAPS:
                where = f"{key}, tap {name!r} ({paths[name]!r} of the {who})"
                found[name] = widened(patch_tokens(given[name], leading, where))
                if found[name].shape[2] != width:
                    raise FeatureError(
                        f"{where}: expected tokens of width {width}, as at the other taps, got "
                        f"{found[name].shape[2]}; tap layers of one width"
                    )
            sides.append(found)
        ours, theirs = sides
        for name in TAPS:
            taps = f"{key}, tap {name!r} ({step.paths[0][name]!r}, {step.paths[1][name]!r})"
            counts = ours[name].shape[1], theirs[name].shape[1]
            if counts[0] != counts[1]:
                raise FeatureError(
                    f"{taps}: expected as many patches in both models, got {counts[0]} in the "
                    f"student and {counts[1]} in the teacher; take models of one patch size"
                )
            if not grid_side(counts[0]):
                raise FeatureError(
                    f"{taps}: expected patches that make a square grid, got {counts[0]} in the "
                    f"student and {counts[1]} in the teacher; train on square images, or say by "
                    "the backbone how many tokens stand before the patches (num_extra_tokens)"
                )
        return ours, theirs

    # ----------------------------------------------------------------- a step
    def aligned(self, name: str, tokens: Tensor) -> Tensor:
        """phi of a tap: the identity where the widths are equal."""
        tokens = tokens.to(self.mask_token.dtype)
        out: Tensor = self.align[name](tokens) if name in self.align else tokens
        return out

    def generated(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """g of (N, P, D) tokens, with the mask token where they are not ``kept`` (N, P)."""
        masked = torch.where(kept[..., None], tokens, self.mask_token)
        return as_tokens(self.generate(tokens_as_map(masked, "vitkd", extra=0)))

    def of_tokens(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
        """The equation of the module on the patch tokens (N, P, D) of each tap."""
        dtype = self.mask_token.dtype
        theirs = {name: tokens.detach().to(dtype) for name, tokens in teacher.items()}
        ours = {name: self.aligned(name, student[name]) for name in TAPS}
        low = mimic_loss([ours[name] for name in LOW], [theirs[name] for name in LOW])
        images, count, _ = ours["last"].shape
        kept = kept_tokens(self.draw(images, count, ours["last"].device), self.mask_share)
        apart = (self.generated(ours["last"], kept) - theirs["last"]).square().sum(dim=2)
        high = (apart * ~kept).sum() / max(1, images)
        return self.loss_weight * (self.alpha * low + self.beta / self.mask_share * high)

    def forward(self, student: Mapping[str, Any], teacher: Mapping[str, Any], step: Step) -> Tensor:
        """A scalar, ``loss_weight`` included; in float32 at least, also under autocast.

        Args:
            student, teacher: tokens (N, class token and P, D) at ``first``, ``second``, ``last``.
            step: whose models say how many tokens stand before those of the patches.

        Raises:
            FeatureError: they are no such tokens, or of other grids.
        """
        ours, theirs = self._tokens(student, teacher, step, "vitkd")
        with torch.autocast(device_type=ours["last"].device.type, enabled=False):
            return self.of_tokens(ours, theirs)

    def extra_repr(self) -> str:
        return (
            f"alpha={self.alpha:g}, beta={self.beta:g}, mask_share={self.mask_share:g}, "
            f"loss_weight={self.loss_weight:g}"
        )


def _width(who: str, channels: Any) -> int:
    """The width at the taps, which must be one."""
    if not isinstance(channels, Mapping) or set(channels) != set(TAPS):
        raise ValueError(
            f"vitkd.module: expected the taps {', '.join(TAPS)}, such as module=dict("
            "first='backbone.layers.0', second='backbone.layers.1', last='backbone.ln1'), got "
            f"{who}_channels={channels!r}"
        )
    for name in TAPS:
        check_channels(f"vitkd.{who}_channels.{name}", channels[name])
    if len(set(channels.values())) > 1:
        raise ValueError(
            f"vitkd.module: expected tokens of one width at all taps of the {who}, got "
            f"{dict(channels)}; tap blocks of a transformer whose width does not change"
        )
    return int(channels["last"])


def golden(case: Case) -> Outcome:
    """The reference's numbers, see :class:`freekd.losses.card.Case`."""
    options, given = case.options, case.inputs
    loss = ViTKDLoss(
        dict.fromkeys(TAPS, int(options["student_dims"])),
        dict.fromkeys(TAPS, int(options["teacher_dims"])),
        alpha=float(options["alpha_vitkd"]),
        beta=float(options["beta_vitkd"]),
        mask_share=float(options["lambda_vitkd"]),
    ).to(given["student_high"].dtype)
    layers = {"gen_conv1": loss.generate[0], "gen_conv2": loss.generate[2]}
    if loss.align:
        names = ("low_align_layer1", "low_align_layer2", "high_align")
        layers.update({name: loss.align[tap] for name, tap in zip(names, TAPS)})
    parameters: Dict[str, Tensor] = {"mask_token": loss.mask_token}
    for name, layer in layers.items():
        for kind in ("weight", "bias"):
            parameters[f"{name}_{kind}"] = getattr(layer, kind)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(case.parameters[name])
    noise = case.draws["token_noise"]
    loss.draw = lambda images, tokens, device: noise  # type: ignore[method-assign]
    sides: List[Dict[str, Tensor]] = []
    for who in ("student", "teacher"):
        low = given[f"{who}_low"]
        sides.append(dict(zip(TAPS, (low[:, 0], low[:, 1], given[f"{who}_high"]))))
    return Outcome(dict(loss=loss.of_tokens(*sides)), parameters)


def _hint(loss: ViTKDLoss) -> str:
    """The weights of the paper."""
    return (
        "the paper: alpha=3e-5, beta=3e-6, mask_share=0.5 for 196 patches and teachers of width "
        "384 to 1024; sums over patches and channels, so both count"
    )


def _published(pair: str, alone: float, distilled: float, with_logits: float) -> Tuple[Any, ...]:
    """Alone, and with the same authors' loss of logits beside it."""
    data, source = "ImageNet top-1", "authors' repository"
    return (
        Published(pair, data, alone, distilled, source),
        Published(f"{pair}, with NKD (tau 1, gamma 1)", data, alone, with_logits, source),
    )


CARD = Card(
    name="vitkd",
    title="ViTKD",
    summary="A vision transformer's first two blocks mimicked, its last generated from a part.",
    module=ViTKDLoss,
    paper=(
        "ViTKD: Practical Guidelines for ViT Feature Knowledge Distillation, CVPR Workshops 2024, "
        "https://arxiv.org/abs/2209.02432"
    ),
    tasks=("cls",),
    taps=dict(cls=dict(first="backbone.layers.0", second="backbone.layers.1", last="last_tokens")),
    maps=False,
    hint=_hint,
    published=(
        *_published("DeiT-III-S -> DeiT-T", 74.42, 76.06, 77.78),
        *_published("DeiT-III-B -> DeiT-S", 80.55, 81.95, 83.59),
        *_published("DeiT-III-L -> DeiT-B", 81.76, 83.46, 85.41),
    ),
    golden=golden,
)
