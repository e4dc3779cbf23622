"""Frequency prompts: where in each band to look (Eq. 4-9)."""

from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from freekd.checks import FeatureError, check_choice
from freekd.frequency.triton import ops
from freekd.frequency.triton.check import usable
from freekd.gates import GATES, Gate

from .dissimilarity import dissimilarity
from .masks import (
    DISTANCES,
    check_prompt,
    haar_masks,
    mask_weight,
    masked_reconstruction,
    masks_of,
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
        gate: a :class:`freekd.gates.Gate`, or None.

    Raises:
        ValueError: an option of the gate that is out of range, with its config key.
    """

    def __init__(self, spec: PromptSpec, init_std: float = 0.01) -> None:
        super().__init__()
        self.spec = spec
        groups = len(spec.transform.groups(spec.granularity))
        self.prompts = nn.ParameterList(
            [
                nn.Parameter(torch.randn(groups, spec.num_prompts, channels) * init_std)
                for channels in spec.channels
            ]
        )
        self.gate: Optional[Gate] = None
        if spec.gate is not None:
            self.gate = GATES.build(spec.gate, spec.channels)

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
        transform, granularity = self.spec.transform, self.spec.granularity
        check_prompt(prompt, feat.shape, transform, granularity)
        learning = torch.is_grad_enabled() and (prompt.requires_grad or feat.requires_grad)
        if transform.haar_levels(feat.shape) and not learning:
            return haar_masks(prompt, feat, transform, granularity)
        if not learning:
            return masks_of(prompt, feat, transform, granularity)
        return prompt_masks(prompt, transform.analyse(feat), transform, granularity)

    @torch.no_grad()
    def weights(self, feats: Sequence[Tensor], distance: str = "l1") -> List[List[Tensor]]:
        """Stage 2's: the masks of :meth:`masks` as one weight (N, h, w) each, without gradient.

        See :func:`freekd.prompts.masks.mask_weight`.
        """
        return [self._weights(prompt, feat, distance) for prompt, feat in zip(self.prompts, feats)]

    def _weights(self, prompt: Tensor, feat: Tensor, distance: str) -> List[Tensor]:
        check_choice("distance", distance, DISTANCES)
        transform, granularity = self.spec.transform, self.spec.granularity
        check_prompt(prompt, feat.shape, transform, granularity)
        levels = transform.haar_levels(feat.shape)
        if levels and prompt.device == feat.device and usable(feat, levels):
            bands = ops.mask_weights(feat, prompt, levels, granularity, distance == "l2")
            return [bands[group.members[0]] for group in transform.groups(granularity)]
        return [mask_weight(mask, distance) for mask in self._masks(prompt, feat)]

    def forward(self, feats: Sequence[Tensor]) -> Tuple[List[Tensor], List[List[Tensor]]]:
        """Masked reconstructions of all levels, and their masks as :meth:`masks` gives them."""
        transform, granularity = self.spec.transform, self.spec.granularity
        weights = [None] * len(feats) if self.gate is None else self.gate(feats)
        outs, masks = [], []
        for feat, prompt, weight in zip(feats, self.prompts, weights):
            out, found = masked_reconstruction(feat, prompt, transform, granularity, weight)
            outs.append(out)
            masks.append(found)
        return outs, masks

    @staticmethod
    def dissimilarity(masks: Sequence[Sequence[Tensor]], kind: str = "jaccard") -> Tensor:
        """L_dis: the mean over the batch, summed over groups and pyramid levels (Eq. 9)."""
        terms = [dissimilarity(mask, kind) for level in masks for mask in level]
        return torch.stack(terms).sum()
