"""How alike a band's masks are: the second term of stage 1 (Eq. 8)."""

import torch
from torch import Tensor

from freekd.checks import check_choice
from freekd.widen import widened

DISSIMILARITIES = ("jaccard", "dice")
REDUCTIONS = ("sum", "mean")  # over groups of bands and pyramid levels


def dissimilarity(masks: Tensor, kind: str = "jaccard", eps: float = 1e-12) -> Tensor:
    """How alike the T masks of a band are (Eq. 8); lower is better, a loss.

    Args:
        masks: (N, T, ...), values in [0, 1].
        kind: ``jaccard`` (the paper): (1/T^2) sum over all i, j of
            sum(m n) / (sum m^2 + sum n^2 - sum m n); 1 when all masks are equal, at least 1/T.
            ``dice`` (the release): the mean over i != j of 2 sum(m n) / (sum m^2 + sum n^2);
            0 for T = 1.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: for another ``kind``.
    """
    check_choice("dissimilarity", kind, DISSIMILARITIES)
    flat, count = masks.flatten(2), masks.shape[1]
    with torch.autocast(device_type=masks.device.type, enabled=False):
        flat = widened(flat)
        products = flat @ flat.transpose(1, 2)
    squares = torch.diagonal(products, dim1=1, dim2=2)
    pair_squares = squares.unsqueeze(1) + squares.unsqueeze(2)
    if kind == "jaccard":
        return (products / (pair_squares - products).clamp_min(eps)).mean()
    if count == 1:
        return products.sum() * 0.0
    dice = 2 * products / pair_squares.clamp_min(eps)
    off_diagonal = dice.sum(dim=(1, 2)) - torch.diagonal(dice, dim1=1, dim2=2).sum(dim=1)
    return off_diagonal.mean() / (count * (count - 1))
