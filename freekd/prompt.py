"""Frequency prompts: where in each band to look, and stage 1's masked reconstruction (Eq. 4-9).

For band b with coefficients R (N, C, h, w): M_b = P_b R (N, T, h, w), mask sigma(M_b), masked band
sum_i sigma(M_b,i) R. The masked bands go through the inverse transform.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from .frequency import MODES, WaveletBands, dwt2, haar_triton, idwt2
from .frequency.filters import filter_bank
from .frequency.haar import haar_analysis, haar_low
from .frequency.haar_triton_check import usable
from .frequency.wavelet import check_transform, haar_applies
from .functional import (
    DISTANCES,
    GRANULARITIES,
    FeatureError,
    band_groups,
    check_choice,
    dissimilarity,
    group_coefficients,
    mask_weight,
)
from .gate import PositionGate

GATES = (None, "position")


class PromptSpec(NamedTuple):
    """What a set of prompts was made for; each field is a config key."""

    channels: Tuple[int, ...]  # of the tapped maps, finest level first
    num_prompts: int = 2  # T
    wavelet: str = "haar"
    dwt_levels: int = 3  # J
    dwt_mode: str = "zero"
    granularity: str = "band"
    gate: Optional[str] = "position"

    @property
    def num_levels(self) -> int:
        """The number of pyramid levels."""
        return len(self.channels)

    @staticmethod
    def build(
        channels: Union[int, Sequence[int]],
        num_levels: Optional[int] = None,
        num_prompts: int = 2,
        wavelet: str = "haar",
        dwt_levels: int = 3,
        dwt_mode: str = "zero",
        granularity: str = "band",
        gate: Optional[str] = "position",
        key: str = "channels",
    ) -> "PromptSpec":
        """Check each value and fill in ``channels`` per level; ``key`` is its name in the config.

        Raises:
            ValueError: for a value out of range, naming its config key.
        """
        channels = expand_channels(channels, num_levels, key)
        for name, value in (("num_prompts", num_prompts), ("dwt_levels", dwt_levels)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        filter_bank(wavelet)
        check_choice("dwt_mode", dwt_mode, MODES)
        check_choice("granularity", granularity, GRANULARITIES)
        check_choice("gate", gate, GATES)
        if gate is not None and len(set(channels)) != 1:
            raise ValueError(
                f"gate={gate!r} relates neighbouring pyramid levels and needs the same channels on "
                f"all; {key}={channels}. Use gate=None."
            )
        return PromptSpec(channels, num_prompts, wavelet, dwt_levels, dwt_mode, granularity, gate)

    def to_dict(self) -> Dict[str, Any]:
        """Plain values, for a file."""
        return {**self._asdict(), "channels": list(self.channels)}

    @staticmethod
    def from_dict(values: Dict[str, Any]) -> "PromptSpec":
        """The inverse of :meth:`to_dict`."""
        return PromptSpec.build(**values)


def expand_channels(
    channels: Union[int, Sequence[int]], num_levels: Optional[int], key: str
) -> Tuple[int, ...]:
    """One channel number per pyramid level, from one for all or one each.

    Raises:
        ValueError: not positive integers, or not ``num_levels`` of them; names ``key``.
    """
    if num_levels is not None and (not isinstance(num_levels, int) or num_levels < 1):
        raise ValueError(f"num_levels must be an integer of at least 1, got {num_levels!r}")
    if isinstance(channels, int):
        expanded = (channels,) * (num_levels or 1)
    else:
        expanded = tuple(channels)
    if not expanded or any(
        not isinstance(c, int) or isinstance(c, bool) or c < 1 for c in expanded
    ):
        raise ValueError(f"{key} must be positive integers, got {channels!r}")
    if num_levels is not None and len(expanded) != num_levels:
        raise ValueError(
            f"{key} names {len(expanded)} levels ({expanded}), num_levels={num_levels}"
        )
    return expanded


def _check_prompt(prompt: Tensor, maps: Sequence[int], dwt_levels: int, granularity: str) -> None:
    """Whether a prompt (G, T, C) fits ``maps``, a shape (N, C, h, w)."""
    groups = len(band_groups(dwt_levels, granularity))
    if len(maps) != 4 or prompt.dim() != 3 or prompt.shape[0::2] != (groups, maps[1]):
        channels = f"{maps[1]} channels" if len(maps) == 4 else "C channels"
        raise ValueError(
            f"expected maps (N, C, h, w) and a prompt ({groups} groups, T, {channels}) for "
            f"dwt_levels={dwt_levels}, granularity={granularity!r}; got maps {tuple(maps)} and a "
            f"prompt {tuple(prompt.shape)}"
        )


def prompt_masks(prompt: Tensor, bands: WaveletBands, granularity: str = "band") -> List[Tensor]:
    """sigma(P_b R) for each group, Eq. 5.

    Args:
        prompt: P (G, T, C), G groups in the order of :func:`freekd.functional.band_groups`.
        bands: coefficients (N, C, h, w).
        granularity: ``band`` (Eq. 5) or ``level``: the three bands of a level are summed first.

    Returns:
        G masks (N, T, h, w), in (0, 1).

    Raises:
        ValueError: when groups or channels do not match.
    """
    _check_prompt(prompt, bands.low.shape, bands.levels, granularity)
    masks = []
    with torch.autocast(device_type=prompt.device.type, enabled=False):
        for weights, coefficients in zip(prompt, group_coefficients(bands, granularity)):
            logits = weights.to(coefficients.dtype) @ coefficients.flatten(2)
            masks.append(torch.sigmoid(logits).unflatten(2, coefficients.shape[-2:]))
    return masks


@torch.no_grad()
def haar_masks(
    prompt: Tensor, feat: Tensor, dwt_levels: int = 3, granularity: str = "band"
) -> List[Tensor]:
    """:func:`prompt_masks` of a Haar transform with zero extension, without making the bands.

    The transform acts on each channel, the prompt across channels, so they commute (method.md,
    identity 3): P_b xi_b(R) = xi_b(P_b R). The C channels are projected to T first, and T maps are
    transformed; of the C channels only LL is needed, for the next level. No gradient.

    Args:
        prompt: P (G, T, C).
        feat: R (N, C, H, W), any floating type.
        dwt_levels, granularity: as for :func:`prompt_masks`.

    Returns:
        G masks (N, T, h, w), in float32, or float64 where ``feat`` is.

    Raises:
        ValueError: as :func:`prompt_masks` and :func:`freekd.frequency.dwt2`.
    """
    check_transform(feat.shape, "haar", dwt_levels, "zero")
    _check_prompt(prompt, feat.shape, dwt_levels, granularity)
    low = feat.to(torch.promote_types(feat.dtype, torch.float32))
    prompt = prompt.to(low.dtype)
    logits = []
    with torch.autocast(device_type=feat.device.type, enabled=False):
        for level in range(1, dwt_levels + 1):
            if granularity == "band":
                projected = _project(prompt[3 * level - 2 : 3 * level + 1], low)
                _, *details = haar_analysis(projected)
                logits += [band[:, i] for i, band in enumerate(details)]
            else:
                _, *details = haar_analysis(_project(prompt[level : level + 1], low)[:, 0])
                logits.append(details[0] + details[1] + details[2])
            low = haar_low(low)
        logits.insert(0, _project(prompt[:1], low)[:, 0])
    return [torch.sigmoid(logit) for logit in logits]


def _project(prompt: Tensor, maps: Tensor) -> Tensor:
    """(g, T, C) times (N, C, h, w): (N, g, T, h, w)."""
    out = prompt.flatten(0, 1) @ maps.flatten(2)
    return out.view(maps.shape[0], *prompt.shape[:2], *maps.shape[2:])


def masked_reconstruction(
    feat: Tensor,
    prompt: Tensor,
    wavelet: str = "haar",
    dwt_levels: int = 3,
    dwt_mode: str = "zero",
    granularity: str = "band",
    channel_weight: Optional[Tensor] = None,
    crop: bool = True,
) -> Tuple[Tensor, List[Tensor]]:
    """The map that stage 1 puts in the teacher: xi~( omega sum_i sigma(M_i) R ), Eq. 4-7.

    Args:
        feat: (N, C, H, W).
        prompt: (G, T, C).
        channel_weight: omega (N, C), or None.
        crop: cut the reconstruction to (H, W); the inverse of an odd size is larger.

    Returns:
        The masked map, of ``feat``'s dtype, and the masks of each group (N, T, h, w).

    Raises:
        ValueError: as :func:`prompt_masks` and :func:`freekd.frequency.dwt2`, and for a
            ``channel_weight`` of another shape.
    """
    if channel_weight is not None and channel_weight.shape != feat.shape[:2]:
        raise ValueError(
            f"expected a channel_weight (N, C) = {tuple(feat.shape[:2])} for the maps "
            f"{tuple(feat.shape)}, got {tuple(channel_weight.shape)}"
        )
    bands = dwt2(feat, wavelet, dwt_levels, dwt_mode)
    masks = prompt_masks(prompt, bands, granularity)
    flat = bands.flat()
    with torch.autocast(device_type=feat.device.type, enabled=False):
        for mask, (_, members) in zip(masks, band_groups(dwt_levels, granularity)):
            factor = mask.sum(dim=1, keepdim=True)
            for member in members:
                flat[member] = flat[member] * factor
        if channel_weight is not None:
            weight = channel_weight[:, :, None, None]
            flat = [band * weight for band in flat]
    size = feat.shape[-2:] if crop else None
    out = idwt2(WaveletBands.from_flat(flat), wavelet, dwt_mode, size)
    return out.to(feat.dtype), masks


class FrequencyPrompts(nn.Module):
    """The learnable prompts, and the gate, of all levels of a feature pyramid.

    Args:
        spec: what they are for.
        init_std: P starts as N(0, init_std^2); sigma is then about 1/2, and with T = 2 the masked
            reconstruction about the identity.

    Attributes:
        prompts: one parameter (G, T, C) per pyramid level.
        gate: a :class:`freekd.gate.PositionGate`, or None.
    """

    def __init__(self, spec: PromptSpec, init_std: float = 0.01) -> None:
        super().__init__()
        self.spec = spec
        groups = len(band_groups(spec.dwt_levels, spec.granularity))
        self.prompts = nn.ParameterList(
            [
                nn.Parameter(torch.randn(groups, spec.num_prompts, channels) * init_std)
                for channels in spec.channels
            ]
        )
        self.gate = (
            PositionGate(spec.channels[0], spec.num_levels) if spec.gate == "position" else None
        )

    def check_feats(self, feats: Sequence[Tensor], what: str, key: str = "channels") -> None:
        """Raise FeatureError, with both numbers, unless the maps fit the spec."""
        if len(feats) != self.spec.num_levels:
            raise FeatureError(
                f"{what} gives {len(feats)} feature maps, num_levels={self.spec.num_levels}"
            )
        for level, (feat, channels) in enumerate(zip(feats, self.spec.channels)):
            if feat.dim() != 4 or feat.shape[1] != channels:
                raise FeatureError(
                    f"{what}, level {level}: expected (N, {channels}, H, W) as {key} says, "
                    f"got {tuple(feat.shape)}"
                )

    def masks(self, feats: Sequence[Tensor]) -> List[List[Tensor]]:
        """For each map (N, C, H, W), for each group, the masks (N, T, h, w)."""
        return [self._masks(prompt, feat) for prompt, feat in zip(self.prompts, feats)]

    def _masks(self, prompt: Tensor, feat: Tensor) -> List[Tensor]:
        _, _, wavelet, levels, mode, granularity, _ = self.spec
        _check_prompt(prompt, feat.shape, levels, granularity)
        learning = torch.is_grad_enabled() and (prompt.requires_grad or feat.requires_grad)
        if haar_applies(feat.shape, wavelet, mode, levels) and not learning:
            return haar_masks(prompt, feat, levels, granularity)
        return prompt_masks(prompt, dwt2(feat, wavelet, levels, mode), granularity)

    @torch.no_grad()
    def weights(self, feats: Sequence[Tensor], distance: str = "l1") -> List[List[Tensor]]:
        """Stage 2's: the masks of :meth:`masks` as one weight (N, h, w) each, without gradient.

        See :func:`freekd.functional.mask_weight`.
        """
        return [self._weights(prompt, feat, distance) for prompt, feat in zip(self.prompts, feats)]

    def _weights(self, prompt: Tensor, feat: Tensor, distance: str) -> List[Tensor]:
        check_choice("distance", distance, DISTANCES)
        _, _, wavelet, levels, mode, granularity, _ = self.spec
        _check_prompt(prompt, feat.shape, levels, granularity)
        on_gpu = usable(feat, levels) and prompt.device == feat.device
        if on_gpu and haar_applies(feat.shape, wavelet, mode, levels):
            bands = haar_triton.mask_weights(feat, prompt, levels, granularity, distance == "l2")
            return [bands[members[0]] for _, members in band_groups(levels, granularity)]
        return [mask_weight(mask, distance) for mask in self._masks(prompt, feat)]

    def forward(self, feats: Sequence[Tensor]) -> Tuple[List[Tensor], List[List[Tensor]]]:
        """Masked reconstructions of all levels, and their masks as :meth:`masks` gives them."""
        spec = self.spec
        weights = self.gate(feats) if self.gate is not None else [None] * len(feats)
        outs, masks = [], []
        for feat, prompt, weight in zip(feats, self.prompts, weights):
            out, level_masks = masked_reconstruction(
                feat,
                prompt,
                spec.wavelet,
                spec.dwt_levels,
                spec.dwt_mode,
                spec.granularity,
                weight,
            )
            outs.append(out)
            masks.append(level_masks)
        return outs, masks

    @staticmethod
    def dissimilarity(masks: Sequence[Sequence[Tensor]], kind: str = "jaccard") -> Tensor:
        """L_dis: the mean over the batch, summed over groups and pyramid levels (Eq. 9)."""
        terms = [dissimilarity(mask, kind) for level in masks for mask in level]
        return torch.stack(terms).sum()
