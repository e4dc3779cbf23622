"""From prompts to masks, with the package's prompt encoder and mask decoder."""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 8  # prompts at a time: each has four masks of the input's size


class Predicted(NamedTuple):
    """The masks of B prompts on the decoder's grid: logits (B, M, h, w), predicted IoU (B, M)."""

    logits: Tensor
    iou: Tensor


def to_input_frame(
    coords: NDArray[np.float64], original: Sequence[int], resized: Sequence[int]
) -> NDArray[np.float64]:
    """Coordinates (..., 2), as (x, y) of the original image, in the resized one.

    Args:
        coords: in pixels.
        original, resized: (height, width).
    """
    scale = np.array([resized[1] / original[1], resized[0] / original[0]])
    return np.asarray(coords, dtype=np.float64) * scale


def decode(
    prompt_encoder: nn.Module, mask_decoder: nn.Module, embedding: Tensor, sparse: Sequence[Tensor]
) -> Predicted:
    """All four masks for prompts of one image.

    Args:
        prompt_encoder, mask_decoder: the package's.
        embedding: (1, C, h, w), of the image.
        sparse: embedded prompts (B_i, 2, C), which go through the decoder together.
    """
    with in_float32(embedding.device):
        positions = prompt_encoder.get_dense_pe()  # type: ignore[operator]
    tokens = torch.cat(list(sparse))
    dense = prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)  # type: ignore
    dense = dense.expand(len(tokens), -1, *embedding.shape[-2:])
    logits, iou = mask_decoder.predict_masks(  # type: ignore[operator]
        image_embeddings=embedding,
        image_pe=positions,
        sparse_prompt_embeddings=tokens,
        dense_prompt_embeddings=dense,
    )
    return Predicted(logits, iou)


def in_float32(device: torch.device) -> Any:
    """Within it no autocast: positions are sines of multiples of 2 pi, which need the digits."""
    return torch.autocast(device.type, enabled=False)


def embed_points(prompt_encoder: nn.Module, points: Tensor) -> Tensor:
    """Foreground points (B, 2) as tokens (B, 2, C): a lone point gets a token that says so."""
    labels = torch.ones(len(points), 1, device=points.device)
    with in_float32(points.device):
        return prompt_encoder(points=(points[:, None], labels), boxes=None, masks=None)[0]


def embed_boxes(prompt_encoder: nn.Module, boxes: Tensor) -> Tensor:
    """Boxes (B, 4), corners, as tokens (B, 2, C)."""
    with in_float32(boxes.device):
        return prompt_encoder(points=None, boxes=boxes, masks=None)[0]


def at_full_size(
    logits: Tensor, side: int, resized: Sequence[int], original: Sequence[int]
) -> Tensor:
    """Logits (B, M, h, w) of the decoder's grid on the original image: (B, M, H, W).

    Resized to the padded input, cut to the image, and resized to its original size, bilinearly.

    Args:
        logits: of the decoder.
        side: of the padded input.
        resized, original: (height, width) of the image in it, and of the file.
    """
    full = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
    full = full[..., : resized[0], : resized[1]]
    return F.interpolate(full, tuple(original), mode="bilinear", align_corners=False)


def answers(found: Predicted, kind: str) -> Tuple[Tensor, Tensor]:
    """The mask that answers to each prompt: (B, 1, h, w) logits and (B,) predicted IoU.

    Of a box mask 0, of a point the one of masks 1 to 3 with the highest predicted IoU.
    """
    if kind == "box":
        return found.logits[:, :1], found.iou[:, 0]
    best = found.iou[:, 1:].argmax(1)
    rows = torch.arange(len(best), device=best.device)
    return found.logits[rows, best + 1][:, None], found.iou[rows, best + 1]


def rle_of(mask: NDArray[Any]) -> Dict[str, Any]:
    """A mask (H, W) in COCO's compressed run-length form, with text for counts."""
    from pycocotools import mask as coco_mask

    found = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=[int(n) for n in found["size"]], counts=found["counts"].decode())


@torch.no_grad()
def predict(
    model: Any, embedding: Tensor, prompts: NDArray[np.float64], kind: str, meta: Dict[str, Any]
) -> Dict[str, List[Any]]:
    """The masks of one image's prompts.

    Args:
        model: with ``prompt_encoder``, ``mask_decoder`` and ``arch``.
        embedding: (1, C, h, w).
        prompts: (K, 2) points or (K, 4) boxes, in pixels of the original image.
        kind: ``point`` or ``box``.
        meta: of the image, with ``ori_shape`` and ``img_shape``.

    Returns:
        ``masks``, run-length encoded at the original size, and ``iou``, as predicted.
    """
    original, resized = meta["ori_shape"][:2], meta["img_shape"][:2]
    coords = to_input_frame(np.reshape(prompts, (len(prompts), -1, 2)), original, resized)
    embed = embed_boxes if kind == "box" else embed_points
    masks: List[Any] = []
    scores: List[float] = []
    for start in range(0, len(coords), CHUNK):
        some = torch.as_tensor(coords[start : start + CHUNK], dtype=torch.float32)
        some = some.to(embedding.device).flatten(1)
        tokens = embed(model.prompt_encoder, some)
        found = decode(model.prompt_encoder, model.mask_decoder, embedding, [tokens])
        logits, iou = answers(found, kind)
        full = at_full_size(logits.float(), model.arch.image_size, resized, original)
        masks += [rle_of(mask) for mask in (full[:, 0] > 0).cpu().numpy()]
        scores += iou.float().tolist()
    return dict(masks=masks, iou=scores)
