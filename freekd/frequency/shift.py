"""Cycle spinning: a transform of maps that are moved over its grid, by another offset each time.

Haar's coefficients belong to blocks of 2^J x 2^J places, whose borders lie where they lie. An error
across a border and the same error inside of a block have other coefficients, so a weight on bands
means another thing at each place. The mean over all offsets d of the grid,

    E_d sum_k w_k |xi_k(R_d s) - xi_k(R_d t)|^p,    R_d: roll by d, 0 <= d_y, d_x < 2^J,

does not know the borders: it is the distance of the undecimated transform. One random d for each
training step estimates it without bias, at the cost of one transform (Coifman and Donoho,
"Translation-invariant de-noising", 1995, average over d likewise).
"""

from typing import Tuple

import torch
from torch import Tensor

from freekd.frequency.transform import Transform

Offset = Tuple[int, int]


def check_grid(transform: Transform, key: str) -> None:
    """Raise ValueError, naming the key, where moving a map says nothing new to a transform."""
    if transform.grid is None:
        raise ValueError(
            f"{key}=True needs coefficients that belong to blocks of the map, and those of "
            f"{transform} do not. Remove {key}, or take a wavelet, or a DCT of blocks (block=8)"
        )


def random_offset(transform: Transform) -> Offset:
    """(d_y, d_x), uniform over the transform's grid, from torch's generator of the CPU.

    So nothing waits for a GPU, and a seed decides it.
    """
    d_y, d_x = torch.randint(transform.grid or 1, (2,)).tolist()
    return d_y, d_x


def moved(x: Tensor, offset: Offset) -> Tensor:
    """R_d x: maps (..., H, W), rolled; a weight that has no places, (..., 1, 1), as it is.

    >>> moved(torch.tensor([[1, 2, 3]]), (0, 1)).tolist()
    [[3, 1, 2]]
    """
    return torch.roll(x, offset, dims=(-2, -1))
