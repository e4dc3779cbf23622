"""Frequency prompts: where in each band to look (Eq. 4-9)."""

from functools import partial
from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from freekd.checks import FeatureError, check_choice
from freekd.frequency.triton import ops
from freekd.frequency.triton.check import usable
from freekd.gates import GATES, Gate

from .dissimilarity import REDUCTIONS, dissimilarity
from .fill import MeanFill
from .forms import FORMS, SignedForm
from .masks import (
    DISTANCES,
    check_prompt,
    haar_masks,
    mask_weight,
    masks_from,
    masks_of,
    prompt_masks,
)
from .reconstruction import reconstructed
from .running import RunningMeans
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
        means: s of the forms with energy, :class:`.RunningMeans` (G, C) per level; else None.
        biases: b of the form ``energy_bias``, a parameter (G, T) per level; else None.

    s is taken over all that training sees (:meth:`forward` in training mode, with prompts that
    learn), and frozen with the prompts. Training uses it, too, and not the batch's own mean: what
    learns are the masks that stage 2 will use, which depend on an image alone. As the teacher's
    maps do not change, the two differ little after a few batches, and not at all in the first.
    Before any batch every mask is 1/2.

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
        self.means: Optional[RunningMeans] = None
        if FORMS[spec.form].has_mean:
            self.means = RunningMeans([(groups, channels) for channels in spec.channels])
        self.biases: Optional[nn.ParameterList] = None
        if FORMS[spec.form].has_bias:
            zeros = [torch.zeros(groups, spec.num_prompts) for _ in spec.channels]
            self.biases = nn.ParameterList([nn.Parameter(zero) for zero in zeros])
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

    def form(self, level: int) -> SignedForm:
        """From a pyramid level's coefficients to its logits."""
        mean = None if self.means is None else self.means.mean(level)
        bias = None if self.biases is None else self.biases[level]
        return FORMS[self.spec.form](mean, bias)

    def masks(self, feats: Sequence[Tensor]) -> List[List[Tensor]]:
        """For each map (N, C, H, W), for each group, the masks (N, T, h, w)."""
        return [self._masks(level, feat) for level, feat in enumerate(feats)]

    def _masks(self, level: int, feat: Tensor) -> List[Tensor]:
        transform, granularity = self.spec.transform, self.spec.granularity
        prompt, form = self.prompts[level], self.form(level)
        check_prompt(prompt, feat.shape, transform, granularity)
        learning = torch.is_grad_enabled() and (prompt.requires_grad or feat.requires_grad)
        if learning:
            return prompt_masks(prompt, transform.analyse(feat), transform, granularity, form)
        in_parts = feat.device.type == "cpu" or not form.magnitudes  # else kernels make the bands
        if transform.haar_levels(feat.shape) and in_parts:
            return haar_masks(prompt, feat, transform, granularity, form)
        return masks_of(prompt, feat, transform, granularity, form)

    @torch.no_grad()
    def weights(self, feats: Sequence[Tensor], distance: str = "l1") -> List[List[Tensor]]:
        """Stage 2's: the masks of :meth:`masks` as one weight (N, h, w) each, without gradient.

        See :func:`freekd.prompts.masks.mask_weight`.
        """
        return [self._weights(level, feat, distance) for level, feat in enumerate(feats)]

    def _weights(self, level: int, feat: Tensor, distance: str) -> List[Tensor]:
        check_choice("distance", distance, DISTANCES)
        transform, granularity = self.spec.transform, self.spec.granularity
        prompt, form = self.prompts[level], self.form(level)
        check_prompt(prompt, feat.shape, transform, granularity)
        levels = transform.haar_levels(feat.shape)
        if levels and prompt.device == feat.device and usable(feat, levels):
            factors = form.factors(prompt)
            bands = ops.mask_weights(
                feat, factors.weights, levels, granularity, distance == "l2", form.magnitudes,
                factors.offset,
            )  # fmt: skip
            return [bands[group.members[0]] for group in transform.groups(granularity)]
        return [mask_weight(mask, distance) for mask in self._masks(level, feat)]

    def forward(
        self, feats: Sequence[Tensor], fill: Optional[MeanFill] = None
    ) -> Tuple[List[Tensor], List[List[Tensor]]]:
        """Masked reconstructions of all levels, and their masks as :meth:`masks` gives them.

        Args:
            feats: (N, C, H, W) of each level.
            fill: what stands for a coefficient that is masked out; None for 0.
        """
        transform, granularity = self.spec.transform, self.spec.granularity
        weights = [None] * len(feats) if self.gate is None else self.gate(feats)
        for feat, prompt in zip(feats, self.prompts):
            check_prompt(prompt, feat.shape, transform, granularity)
        bands = [transform.analyse(feat) for feat in feats]
        read = [
            self.form(level).read(of_level, transform, granularity)
            for level, of_level in enumerate(bands)
        ]
        if self.training and any(prompt.requires_grad for prompt in self.prompts):
            if self.means is not None:
                self._observe(self.means, read)
            if fill is not None:
                fill.observe(bands)
        outs, masks = [], []
        for level, (feat, weight) in enumerate(zip(feats, weights)):
            found = masks_from(self.prompts[level], read[level], self.form(level))
            of_level = None if fill is None else partial(fill, level)
            outs.append(
                reconstructed(
                    feat, bands[level], found, transform, granularity, weight, fill=of_level
                )
            )
            masks.append(found)
        return outs, masks

    @staticmethod
    @torch.no_grad()
    def _observe(means: RunningMeans, read: Sequence[Sequence[Tensor]]) -> None:
        """Take the means of a training batch into s."""
        of_batch = [torch.stack([x.mean((0, 2, 3)) for x in level]) for level in read]
        means.update(of_batch, [max(x[:, 0].numel() for x in level) for level in read])

    @staticmethod
    def dissimilarity(
        masks: Sequence[Sequence[Tensor]], kind: str = "jaccard", reduction: str = "sum"
    ) -> Tensor:
        """L_dis: the mean over the batch, summed over groups and pyramid levels (Eq. 9).

        With ``reduction='mean'`` it is the mean over groups and levels, so that it does not grow
        with their number beside the teacher's own loss.
        """
        check_choice("reduction", reduction, REDUCTIONS)
        terms = torch.stack([dissimilarity(mask, kind) for level in masks for mask in level])
        return terms.sum() if reduction == "sum" else terms.mean()

    @staticmethod
    def passing(masks: Sequence[Sequence[Tensor]]) -> Tensor:
        """What the masks let pass: the mean over groups and levels of mean( sum_i m_i ).

        The inner mean is over images and positions. T / 2 for prompts of 0.
        """
        terms = [mask.sum(dim=1).mean() for level in masks for mask in level]
        return torch.stack(terms).mean()
