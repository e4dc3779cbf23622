"""One half of the spectrum of a real map, and what it says of the whole.

F(u, v) = (HW)^(-1/2) sum_{h,w} x[h, w] e^{-2 pi i (uh/H + vw/W)} of a real x has
F(-u, -v) = conj F(u, v), so its columns v = 0 ... floor(W/2) are enough: half the memory, and half
the arithmetic of all that treats each frequency alike.
"""

from typing import Tuple

import torch
from torch import Tensor


class HalfPlane:
    """The frequencies of maps (..., H, W), by halves.

    Args:
        height, width: H and W.

    The *half* of a map has ``half`` = floor(W/2) + 1 columns; columns 1 to ``mirrored`` =
    floor((W-1)/2) of it stand for a second frequency too, the negative one. A *spread* map has all
    HW frequencies in one axis: first the half, row by row, then the negatives of the mirrored
    columns, in the order of the half.

    >>> plane = HalfPlane(4, 6)
    >>> plane.half, plane.mirrored
    (4, 2)
    """

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.half, self.mirrored = width // 2 + 1, (width - 1) // 2

    def spread(self, half: Tensor, sign: float = 1.0) -> Tensor:
        """(..., H, half) to (..., HW), times ``sign`` at the negative frequencies.

        The sign is 1 for what is even (real part, absolute value), -1 for what is odd (imaginary
        part, phase).
        """
        out = half.new_empty((*half.shape[:-2], self.height * self.width))
        one, two = self.parts(out)
        one.copy_(half)
        torch.mul(half[..., 1 : self.mirrored + 1], sign, out=two)
        return out

    def parts(self, spread: Tensor) -> Tuple[Tensor, Tensor]:
        """Views of a spread map: (..., H, half), and (..., H, mirrored) at negative frequencies."""
        count = self.height * self.half
        one = spread[..., :count].unflatten(-1, (self.height, self.half))
        return one, spread[..., count:].unflatten(-1, (self.height, self.mirrored))

    def fold(self, spread: Tensor, sign: float = 1.0) -> Tensor:
        """The adjoint of :meth:`spread`, (..., HW) to (..., H, half); it writes to ``spread``."""
        one, two = self.parts(spread)
        one[..., 1 : self.mirrored + 1].add_(two, alpha=sign)
        return one

    def analyse(self, maps: Tensor) -> Tensor:
        """F of real maps (..., H, W), its half (..., H, half), complex."""
        spectrum: Tensor = torch.fft.rfft2(maps, norm="ortho")
        return spectrum

    def adjoint(self, gradient: Tensor) -> Tensor:
        """The adjoint of :meth:`analyse`, in real arithmetic, times 2 in the mirrored columns.

        A gradient that belongs to a frequency *and* its negative, as one from :meth:`fold` does, is
        to be halved in the mirrored columns first, see :attr:`shares`.
        """
        maps: Tensor = torch.fft.irfft2(gradient, s=(self.height, self.width), norm="ortho")
        return maps

    def shares(self, like: Tensor) -> Tensor:
        """(half,): 1/2 in the mirrored columns, else 1; of the type and device of ``like``."""
        out = like.new_ones(self.half, dtype=like.dtype)
        out[1 : self.mirrored + 1] = 0.5
        return out

    def positions(self, shift: bool, device: torch.device) -> Tensor:
        """Where a spread map's frequencies lie in a whole spectrum (H, W) that is flat, (HW,).

        Args:
            shift: the spectrum is one with frequency 0 in the middle, at (floor(H/2), floor(W/2)).
            device: of the result.
        """
        rows = torch.arange(self.height, device=device)[:, None]
        columns = torch.arange(self.half, device=device)
        up, right = (self.height // 2, self.width // 2) if shift else (0, 0)
        found = []
        for sign, chosen in ((1, columns), (-1, columns[1 : self.mirrored + 1])):
            u, v = (sign * rows + up) % self.height, (sign * chosen + right) % self.width
            found.append((u * self.width + v).flatten())
        return torch.cat(found)
