"""DINO (https://arxiv.org/abs/2203.03605) over mmdet 2.x's Deformable DETR, by inheritance."""

from .detector import DINO
from .head import DINOHead
from .transformer import DINOTransformer, DINOTransformerDecoder

__all__ = ["DINO", "DINOHead", "DINOTransformer", "DINOTransformerDecoder"]
