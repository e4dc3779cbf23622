"""DINO's transformer: mixed query selection, and a decoder whose queries know their boxes.

What it shares with Deformable DETR (encoder, proposals, valid ratios, attention, first weights) is
mmdet's. D are the channels, L the levels, Q the matching queries, K the denoising ones.
"""

import math
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmcv.cnn.bricks.registry import TRANSFORMER_LAYER_SEQUENCE
from mmdet.models.utils.builder import TRANSFORMER
from mmdet.models.utils.transformer import (
    DeformableDetrTransformer,
    DeformableDetrTransformerDecoder,
    inverse_sigmoid,
)
from torch import Tensor, nn
from torch.nn import functional as F

from freekd.widen import wide_dtype

from .denoising import Denoising

_REFINE_EPS = 1e-3  # of the inverse sigmoid in the decoder; the head's is 1e-5
_TEMPERATURE = 10000  # of the boxes' sine positions; the maps' is the config's


def sine_of_boxes(boxes: Tensor, features: int) -> Tensor:
    """Boxes (..., 4) as sines and cosines (..., 4 features), in the order y, x, w, h.

    Feature k of a coordinate c is sin or cos (k even or odd) of
    2 pi c / 10000^(2 floor(k / 2) / features).

    >>> sine_of_boxes(torch.tensor([[0.25, 0.0, 0.0, 0.0]]), 2)[0, 2:4].round(decimals=3)
    tensor([1., -0.])
    """
    boxes = boxes.to(wide_dtype(boxes))
    half = torch.arange(features, device=boxes.device).div(2, rounding_mode="floor")
    divisors = _TEMPERATURE ** (2 * half.to(boxes) / features)
    angles = 2 * math.pi * boxes[..., [1, 0, 2, 3], None] / divisors
    both = torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=-1)
    return both.flatten(-3)


class BoxPosition(nn.Module):
    """From the sines of a box to the position of its query: two linear layers.

    Args:
        channels: D.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        widths = (2 * channels, channels, channels)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, boxes: Tensor) -> Tensor:
        """(N, queries, 4), shares of the map, to (N, queries, D)."""
        sines = sine_of_boxes(boxes, self.channels // 2).to(self.layers[0].weight.dtype)
        position: Tensor = self.layers[1](F.relu(self.layers[0](sines)))
        return position


@TRANSFORMER_LAYER_SEQUENCE.register_module()
class DINOTransformerDecoder(DeformableDetrTransformerDecoder):
    """Deformable DETR's decoder, whose positions come from the boxes anew in each layer.

    It always returns every layer's state; ``return_intermediate`` is taken, and must be True.

    Raises:
        ValueError: channels that are no multiple of 4, or ``return_intermediate=False``.
    """

    def __init__(self, *args: Any, return_intermediate: bool = True, **kwargs: Any) -> None:
        if return_intermediate is not True:
            raise ValueError(
                "bbox_head.transformer.decoder.return_intermediate: DINO's losses compare every "
                f"layer, expected True, got {return_intermediate!r}. Remove the key"
            )
        super().__init__(*args, return_intermediate=True, **kwargs)
        if self.embed_dims % 4:
            raise ValueError(
                "bbox_head.transformer.decoder: expected embed_dims that is a multiple of 4, for "
                f"sines and cosines of two coordinates, got {self.embed_dims}"
            )
        self.ref_point_head = BoxPosition(self.embed_dims)
        self.norm = nn.LayerNorm(self.embed_dims)

    def forward(
        self,
        query: Tensor,
        *args: Any,
        reference_points: Tensor,
        valid_ratios: Tensor,
        reg_branches: Sequence[nn.Module],
        **kwargs: Any,
    ) -> Tuple[Tensor, Tensor]:
        """All layers.

        Args:
            query: (queries, N, D), the content.
            reference_points: (N, queries, 4), after the sigmoid.
            valid_ratios: (N, L, 2), the share of width and height that is no padding.
            reg_branches: of each layer, from (N, queries, D) to a step before the sigmoid.
            args, kwargs: for the layers.

        Returns:
            The states (layers, queries, N, D), each after the norm, and the refined boxes (layers,
            N, queries, 4) with their gradient. Within the decoder boxes carry none.
        """
        states, boxes = [], []
        for layer, branch in zip(self.layers, reg_branches):
            of_level = reference_points[:, :, None] * torch.cat([valid_ratios] * 2, -1)[:, None]
            query = layer(
                query,
                *args,
                query_pos=self.ref_point_head(of_level[:, :, 0]).transpose(0, 1),
                reference_points=of_level,
                **kwargs,
            )
            step = branch(query.transpose(0, 1))
            refined = (step + inverse_sigmoid(reference_points, eps=_REFINE_EPS)).sigmoid()
            reference_points = refined.detach()
            states.append(self.norm(query))
            boxes.append(refined)
        return torch.stack(states), torch.stack(boxes)


class Pyramid(NamedTuple):
    """The maps of all levels as one sequence, T positions in sum."""

    tokens: Tensor  # (N, T, D)
    padded: Tensor  # (N, T), True where padded
    positions: Tensor  # (N, T, D), level embedding included
    sizes: Tensor  # (L, 2), height and width
    starts: Tensor  # (L,), the first token of each level
    valid_ratios: Tensor  # (N, L, 2), width and height


@TRANSFORMER.register_module()
class DINOTransformer(DeformableDetrTransformer):
    """Deformable DETR's two-stage transformer with DINO's queries.

    Their boxes are those of the ``two_stage_num_proposals`` tokens with the best score of any
    class, their contents a learned table (mixed query selection). Where an image has fewer tokens,
    there are as many queries as tokens.

    Attributes:
        denoising: the denoising queries that the next forward puts before the others; None.
    """

    denoising: Optional[Denoising] = None

    def init_layers(self) -> None:
        """The layers beside encoder and decoder; called by the base's constructor."""
        self.level_embeds = nn.Parameter(torch.zeros(self.num_feature_levels, self.embed_dims))
        self.enc_output = nn.Linear(self.embed_dims, self.embed_dims)
        self.enc_output_norm = nn.LayerNorm(self.embed_dims)
        self.query_embed = nn.Embedding(self.two_stage_num_proposals, self.embed_dims)

    def forward(
        self,
        mlvl_feats: Sequence[Tensor],
        mlvl_masks: Sequence[Tensor],
        query_embed: None,
        mlvl_pos_embeds: Sequence[Tensor],
        reg_branches: Sequence[nn.Module],
        cls_branches: Sequence[nn.Module],
        **kwargs: Any,
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Encoder, selection and decoder; arguments and results as the base's.

        Args:
            mlvl_feats: (N, D, h, w) of each level.
            mlvl_masks: (N, h, w), True where padded.
            query_embed: unused, the base's head gives None.
            mlvl_pos_embeds: (N, D, h, w).
            reg_branches, cls_branches: of each decoder layer, then the encoder's.
            kwargs: for the attention layers.

        Returns:
            States (layers, K + Q, N, D), first boxes (N, K + Q, 4) and boxes of each layer (layers,
            N, K + Q, 4) after the sigmoid; of the chosen tokens the scores (N, Q, C), and the boxes
            (N, Q, 4) before the sigmoid.
        """
        pyramid = self.flatten(mlvl_feats, mlvl_masks, mlvl_pos_embeds)
        places = dict(
            spatial_shapes=pyramid.sizes,
            level_start_index=pyramid.starts,
            valid_ratios=pyramid.valid_ratios,
            **kwargs,
        )
        memory = self.encoder(
            query=pyramid.tokens.transpose(0, 1),
            key=None,
            value=None,
            query_pos=pyramid.positions.transpose(0, 1),
            query_key_padding_mask=pyramid.padded,
            reference_points=self.get_reference_points(
                pyramid.sizes, pyramid.valid_ratios, device=pyramid.tokens.device
            ),
            **places,
        )
        last = self.decoder.num_layers
        tokens, proposals = self.gen_encoder_output_proposals(
            memory.transpose(0, 1), pyramid.padded, pyramid.sizes
        )
        scores, boxes = self.select(
            cls_branches[last](tokens), reg_branches[last](tokens) + proposals
        )
        content, first, mask = self.queries(boxes.detach())
        states, refined = self.decoder(
            query=content.transpose(0, 1),
            key=None,
            value=memory,
            key_padding_mask=pyramid.padded,
            reference_points=first,
            reg_branches=reg_branches,
            attn_masks=[mask, None],  # of self attention and cross attention
            **places,
        )
        return states, first, refined, scores, boxes

    def flatten(
        self, feats: Sequence[Tensor], masks: Sequence[Tensor], positions: Sequence[Tensor]
    ) -> Pyramid:
        """The levels one after the other; arguments as those of :meth:`forward`."""

        def sequence(maps: Sequence[Tensor]) -> List[Tensor]:
            return [one.flatten(2).transpose(1, 2) for one in maps]

        sizes = torch.as_tensor([feat.shape[-2:] for feat in feats], device=feats[0].device)
        ends = sizes.prod(1).cumsum(0)
        placed = [one + level for one, level in zip(sequence(positions), self.level_embeds)]
        return Pyramid(
            torch.cat(sequence(feats), 1),
            torch.cat([mask.flatten(1) for mask in masks], 1),
            torch.cat(placed, 1),
            sizes,
            torch.cat((ends.new_zeros(1), ends[:-1])),
            torch.stack([self.get_valid_ratio(mask) for mask in masks], 1),
        )

    def chosen(self, scores: Tensor) -> Tensor:
        """(N, Q): of scores (N, T, C) the tokens with the best one of any class, best first."""
        count = min(self.two_stage_num_proposals, scores.shape[1])
        return scores.max(-1).values.topk(count, dim=1).indices

    def select(self, scores: Tensor, boxes: Tensor) -> Tuple[Tensor, Tensor]:
        """Scores and boxes of the :meth:`chosen` tokens.

        Args:
            scores: (N, T, C).
            boxes: (N, T, 4), before the sigmoid.
        """
        best = self.chosen(scores)[..., None]
        return (
            scores.gather(1, best.expand(-1, -1, scores.shape[-1])),
            boxes.gather(1, best.expand(-1, -1, 4)),
        )

    def queries(self, boxes: Tensor) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """What the decoder starts from: contents, boxes, and the mask of its self attention.

        Args:
            boxes: (N, Q, 4) of the chosen tokens, before the sigmoid, without gradient.

        Returns:
            (N, K + Q, D), (N, K + Q, 4) after the sigmoid, and (K + Q, K + Q), True where a query
            must not look; None without denoising queries.
        """
        content = self.query_embed.weight[: boxes.shape[1]].expand(len(boxes), -1, -1)
        noisy = self.denoising
        if noisy is None:
            return content, boxes.sigmoid(), None
        content = torch.cat((noisy.content.to(content.dtype), content), 1)
        first = torch.cat((noisy.reference.to(boxes.dtype), boxes), 1).sigmoid()
        return content, first, noisy.attention_mask(boxes.shape[1])
