"""Frequency prompts: where in each band to look (Eq. 4-9)."""

from typing import List, Sequence, Tuple

import torch
from torch import Tensor, nn

from freekd.checks import FeatureError, check_choice
from freekd.frequency import dwt2
from freekd.frequency.groups import band_groups
from freekd.frequency.triton import maps as haar_triton
from freekd.frequency.triton.check import usable
from freekd.frequency.wavelet import haar_applies
from freekd.gates.position import PositionGate

from .dissimilarity import dissimilarity
from .masks import (
    DISTANCES,
    _check_prompt,
    haar_masks,
    mask_weight,
    masked_reconstruction,
    prompt_masks,
)
from .spec import PromptSpec


class FrequencyPrompts(nn.Module):
    """The learnable prompts, and the gate, of all levels of a feature pyramid.

    Args:
        spec: what they are for.
        init_std: P starts as N(0, init_std^2); sigma is then about 1/2, and with T = 2 the masked
            reconstruction about the identity.

    Attributes:
        prompts: one parameter (G, T, C) per pyramid level.
        gate: a :class:`freekd.gates.position.PositionGate`, or None.
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

        See :func:`freekd.prompts.masks.mask_weight`.
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
