"""Contrastive denoising: noisy copies of the true boxes as extra queries of the decoder.

Every denoising group holds each box of an image twice: a positive copy, moved by at most half of
its size, which shall find its box again, and a negative copy, moved further, which shall become
background (DINO, https://arxiv.org/abs/2203.03605, section 3.3). With M the most boxes in an image
and G groups there are 2 G M queries. Query 2 M g + j is the positive copy of box j in group g,
query 2 M g + M + j the negative one.
"""

from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

from freekd.checks import check_integer, check_share, check_weight

_MOST_QUERIES = 10**5


class Noise(NamedTuple):
    """What is drawn for K copies of boxes, by :func:`draw_noise`."""

    chance: Tensor  # (K,) uniform in [0, 1): whether the label is replaced
    label: Tensor  # (K,) the class that would replace it
    sign: Tensor  # (K, 4) +1 or -1: the direction of each coordinate's move
    part: Tensor  # (K, 4) uniform in [0, 1): how far it moves


def draw_noise(count: int, num_classes: int, like: Tensor) -> Noise:
    """All random numbers of a training step of DINO, and nothing else draws any.

    Args:
        count: K, the number of copies.
        num_classes: classes of the data.
        like: a tensor of the device and the type wanted.
    """
    return Noise(
        torch.rand(count, device=like.device, dtype=like.dtype),
        torch.randint(num_classes, (count,), device=like.device),
        torch.randint(2, (count, 4), device=like.device).to(like) * 2 - 1,
        torch.rand(count, 4, device=like.device, dtype=like.dtype),
    )


class Denoising(NamedTuple):
    """The denoising queries of a batch of N images."""

    content: Tensor  # (N, 2GM, D)
    reference: Tensor  # (N, 2GM, 4) boxes (cx, cy, w, h) before the sigmoid
    image: Tensor  # (P,) the image of each positive copy
    query: Tensor  # (P,) its query
    target: Tensor  # (P,) its box: number in the batch, images one after the other
    groups: int  # G

    @property
    def count(self) -> int:
        """2GM, the number of queries of an image."""
        return int(self.content.shape[1])

    def attention_mask(self, matching: int) -> Tensor:
        """(2GM + matching, 2GM + matching), True where a query (row) must not look.

        Matching queries see no denoising one; a group sees itself and the matching queries.

        Args:
            matching: the number of matching queries, which stand behind the denoising ones.
        """
        total, size = self.count + matching, self.count // self.groups
        number = torch.arange(total, device=self.content.device)
        group = number.div(max(size, 1), rounding_mode="floor")
        group[self.count :] = -1  # the matching queries
        return (group[None] != group[:, None]) & (group[None] != -1)


class DenoisingQueries:
    """Makes the denoising queries of a batch.

    Args:
        num_classes: classes of the data.
        num_dn_queries: about how many queries of each kind: there are max(1, num_dn_queries // M)
            groups.
        label_noise_scale: from 0 to 1; half of it is the chance that a label is replaced.
        box_noise_scale: by how much of half its side a corner moves at most, if positive.

    Raises:
        ValueError: a value out of range; names its config key.
    """

    def __init__(
        self,
        num_classes: int,
        num_dn_queries: int = 100,
        label_noise_scale: float = 0.5,
        box_noise_scale: float = 1.0,
    ) -> None:
        check_integer("bbox_head.dn_cfg.num_dn_queries", num_dn_queries, _MOST_QUERIES)
        why = "half of which is the chance that a label is replaced"
        check_share("bbox_head.dn_cfg.label_noise_scale", label_noise_scale, why)
        check_weight("bbox_head.dn_cfg.box_noise_scale", box_noise_scale)
        self.num_classes = num_classes
        self.num_dn_queries = num_dn_queries
        self.label_noise_scale = label_noise_scale
        self.box_noise_scale = box_noise_scale

    def __call__(
        self,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        sizes: Sequence[Sequence[int]],
        embed: Callable[[Tensor], Tensor],
        noise: Optional[Noise] = None,
    ) -> Denoising:
        """The queries for the boxes of a batch.

        Args:
            boxes: of each image (n, 4), x1 y1 x2 y2 in pixels.
            labels: of each image (n,).
            sizes: (height, width) of each image, without padding.
            embed: from labels (K,) to contents (K, D).
            noise: of K = 2 G T copies, T boxes in the batch; None: drawn.
        """
        counts = [len(one) for one in boxes]
        most = max(counts)
        groups = max(1, self.num_dn_queries // most) if most else 1
        image = torch.cat([one.new_full((len(one),), i) for i, one in enumerate(labels)]).long()
        slot = torch.cat([torch.arange(n, device=image.device) for n in counts])
        shares = torch.cat([_shares(one, size) for one, size in zip(boxes, sizes)])
        total = len(shares)
        if noise is None:
            noise = draw_noise(2 * groups * total, self.num_classes, shares)
        copy = torch.arange(2 * groups, device=image.device).repeat_interleave(total)
        chosen = noise.chance < self.label_noise_scale / 2
        noisy = torch.where(chosen, noise.label, torch.cat(list(labels)).repeat(2 * groups))
        contents = embed(noisy)
        references = self._moved(shares.repeat(2 * groups, 1), copy % 2, noise)
        query = copy * most + slot.repeat(2 * groups)
        image = image.repeat(2 * groups)
        of_image = (len(boxes), 2 * groups * most)
        where, positive = (image, query), copy % 2 == 0
        number = torch.arange(total, device=image.device).repeat(2 * groups)
        return Denoising(
            contents.new_zeros(*of_image, contents.shape[-1]).index_put(where, contents),
            references.new_zeros(*of_image, 4).index_put(where, references),
            image[positive],
            query[positive],
            number[positive],
            groups,
        )

    def _moved(self, shares: Tensor, negative: Tensor, noise: Noise) -> Tensor:
        """Boxes (K, 4) with noise, as (cx, cy, w, h) before the sigmoid.

        Each coordinate of the corners moves by sign (part + 1 if negative) side / 2 times the
        scale.

        Args:
            shares: x1 y1 x2 y2 as shares of the image.
            negative: (K,) 1 for negative copies, else 0.
            noise: the directions and parts.
        """
        from mmdet.core import bbox_xyxy_to_cxcywh
        from mmdet.models.utils.transformer import inverse_sigmoid

        side = (shares[:, 2:] - shares[:, :2]).repeat(1, 2)
        move = noise.sign * (noise.part + negative[:, None]) * side * self.box_noise_scale / 2
        moved: Tensor = bbox_xyxy_to_cxcywh((shares + move).clamp(0, 1))
        unbounded: Tensor = inverse_sigmoid(moved, eps=1e-3)
        return unbounded


def build_denoising(num_classes: int, given: Optional[Dict[str, Any]]) -> DenoisingQueries:
    """From the config form ``bbox_head.dn_cfg``; None: every default.

    Raises:
        ValueError: an unknown key, or a value out of range.
    """
    if given is not None and not isinstance(given, dict):
        raise ValueError(f"bbox_head.dn_cfg: expected a dict, got {given!r}")
    known = ("num_dn_queries", "label_noise_scale", "box_noise_scale")
    unknown = sorted(set(given or {}) - set(known))
    if unknown:
        raise ValueError(f"bbox_head.dn_cfg: unknown keys {unknown}; known are {list(known)}")
    return DenoisingQueries(num_classes, **(given or {}))


def _shares(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Boxes in pixels as shares of an image of ``size`` (height, width)."""
    height, width = size
    return boxes / boxes.new_tensor([width, height, width, height])
