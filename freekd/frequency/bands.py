"""Names for the bands of a two-dimensional wavelet transform.

Level 1 is the finest, level J the coarsest. ``LH_j`` (horizontal details) is low-pass along the
width and high-pass along the height, ``HL_j`` (vertical) the other way round, ``HH_j`` (diagonal)
high-pass along both: PyWavelets' cH, cV, cD.
"""

from typing import Iterator, List, NamedTuple, Tuple

from torch import Tensor

ORIENTATIONS = ("LH", "HL", "HH")


class DetailBands(NamedTuple):
    """The three detail bands of one level, each (..., h, w)."""

    horizontal: Tensor
    vertical: Tensor
    diagonal: Tensor


class WaveletBands(NamedTuple):
    """All bands of a J-level transform of a map (..., H, W).

    ``low`` is LL_J; ``details[j - 1]`` holds level j, so ``details[0]`` is the finest.
    """

    low: Tensor
    details: Tuple[DetailBands, ...]

    @property
    def levels(self) -> int:
        """The number of levels J."""
        return len(self.details)

    def named(self) -> Iterator[Tuple[str, Tensor]]:
        """Yield (name, coefficients) for LL_J, then LH, HL, HH of levels 1 to J.

        The order is that of :func:`band_names` and of the first axis of a prompt.
        """
        yield f"LL{self.levels}", self.low
        for level, details in enumerate(self.details, start=1):
            for orientation, band in zip(ORIENTATIONS, details):
                yield f"{orientation}{level}", band

    def flat(self) -> List[Tensor]:
        """The 3J + 1 bands in the order of :func:`band_names`."""
        return [band for _, band in self.named()]

    @staticmethod
    def from_flat(bands: List[Tensor]) -> "WaveletBands":
        """The inverse of :meth:`flat`.

        Raises:
            ValueError: when the number of bands is not 3J + 1 with J >= 1.
        """
        if len(bands) < 4 or len(bands) % 3 != 1:
            raise ValueError(f"a transform of J levels has 3J + 1 bands, got {len(bands)}")
        details = tuple(DetailBands(*bands[i : i + 3]) for i in range(1, len(bands), 3))
        return WaveletBands(bands[0], details)


def band_names(levels: int) -> List[str]:
    """Names of the 3J + 1 bands in the order of a prompt's first axis.

    >>> band_names(2)
    ['LL2', 'LH1', 'HL1', 'HH1', 'LH2', 'HL2', 'HH2']
    """
    names = [f"LL{levels}"]
    for level in range(1, levels + 1):
        names += [f"{orientation}{level}" for orientation in ORIENTATIONS]
    return names
