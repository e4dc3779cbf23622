"""The discrete Fourier transform of the whole map (an alternative xi and xi~), in real bands.

F = DFT(x) / sqrt(HW) of a real map is known from its half: the columns 0 to W / 2. Those whose
mirror image is left out are multiplied by sqrt(2). So the energy of the bands is that of the map,
and the inverse is the adjoint. Column 0, and W / 2 of an even width, hold each value twice, once
conjugate; the inverse takes the mean of both.

The half is cut into the bands of a wavelet transform of J levels, see :mod:`.rectangles`: level j's
low part has the frequencies abs(f) < 1 / 2^(j + 1) cycles per sample of both axes. Each band is two
maps, the real and the imaginary part, under one prompt, which is multiplied with their sum: that
is, up to a reflection, the Hartley transform of the map.
"""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.checks import check_integer
from freekd.frequency.bands import WaveletBands, band_names
from freekd.frequency.dwt import MOST_LEVELS
from freekd.frequency.groups import BandGroup
from freekd.frequency.maps import float_map, map_size
from freekd.frequency.rectangles import dyadic_groups, join, rectangle_sizes, rectangles, split
from freekd.frequency.transform import TRANSFORMS, Bands, Transform


class SpectrumBands(NamedTuple):
    """The bands of the real and of the imaginary part of a spectrum."""

    real: WaveletBands
    imaginary: WaveletBands

    def named(self) -> Iterator[Tuple[str, Tensor]]:
        """Yield (name, coefficients): ``LL3_re``, ``LH1_re``, ..., then ``LL3_im``, ..."""
        for part, bands in zip(("re", "im"), self):
            for name, band in bands.named():
                yield f"{name}_{part}", band

    def flat(self) -> List[Tensor]:
        """The real bands, then the imaginary ones."""
        return [*self.real.flat(), *self.imaginary.flat()]


@TRANSFORMS.register("dft")
class FourierTransform(Transform):
    """The orthonormal DFT in 3J + 1 bands, each as real and imaginary part.

    A coefficient has a frequency and no place. Rows of a band go from low to high frequency: 0, 1,
    -1, 2, -2, ...; columns 0, 1, 2, ...

    Args:
        levels: J, 1 to 16.

    Raises:
        ValueError: an option out of range; names it.

    >>> transform = FourierTransform(levels=1)
    >>> transform.names[:4], transform.sizes((16, 24))[:2]
    (('LL1_re', 'LH1_re', 'HL1_re', 'HH1_re'), [(7, 6), (9, 7)])
    >>> transform.groups()[1]
    BandGroup(name='LH1', members=(1, 5), low=False)
    """

    def __init__(self, levels: int = 3) -> None:
        check_integer("levels", levels, MOST_LEVELS)
        self.levels = levels
        names = band_names(levels)
        self.names = tuple(f"{name}_{part}" for part in ("re", "im") for name in names)

    def to_dict(self) -> Dict[str, Any]:
        """``type``, ``levels``."""
        return {"type": "dft", "levels": self.levels}

    def _cuts(self, size: Sequence[int]) -> Tuple[List[int], List[int]]:
        """Of rows, 2 ceil(H / 2^(j + 1)) - 1 of either sign; of columns ceil(W / 2^(j + 1))."""
        height, width = map_size(size, "the DFT")
        rows, columns = [height], [width // 2 + 1]
        for level in range(1, self.levels + 1):
            rows.append(2 * -(-height // 2 ** (level + 1)) - 1)
            columns.append(-(-width // 2 ** (level + 1)))
        return rows, columns

    def sizes(self, size: Sequence[int]) -> List[Tuple[int, int]]:
        """Level j is about H / 2^j x W / 2^(j + 1), twice."""
        return rectangle_sizes(*self._cuts(size)) * 2

    def occupied(self, size: Sequence[int]) -> List[bool]:
        """As :meth:`freekd.frequency.transform.Transform.occupied`, from the cuts.

        A coefficient of the frequency 0, or the highest of an even number, of both axes is real:
        an imaginary band of such alone is zero.
        """
        bands, (height, width) = rectangles(*self._cuts(size)), map_size(size, "the DFT")
        real_rows = {0} if height % 2 else {0, height - 1}  # in the order of _by_frequency
        real_columns = {0} if width % 2 else {0, width // 2}
        real = [bool(y) and bool(x) for y, x in bands]
        imaginary = [not (real_rows.issuperset(y) and real_columns.issuperset(x)) for y, x in bands]
        return real + [a and b for a, b in zip(real, imaginary)]

    def analyse(self, x: Tensor) -> SpectrumBands:
        """The bands of maps (..., H, W), in float32 at least.

        Raises:
            ValueError: no real map of at least 1x1.
        """
        x = float_map(x, "the DFT")
        cuts = self._cuts(x.shape)
        spectrum = torch.fft.rfft2(x, norm="ortho") * _doubled(x.shape[-1], x)
        ordered = spectrum.index_select(-2, _by_frequency(x.shape[-2], x))
        return SpectrumBands(split(ordered.real, *cuts), split(ordered.imag, *cuts))

    def whole(
        self, student: Tensor, teacher: Tensor, weights: Sequence[Tensor], squared: bool
    ) -> Optional[Tuple[Tensor, Tensor]]:
        """As :meth:`.Transform.whole`: the half spectrum, the weights in its order of rows."""
        if type(self) is not FourierTransform:  # it may have an `analyse` of its own
            return None
        (height, width), cuts = student.shape[-2:], self._cuts(student.shape)
        weight = torch.stack([join(part, *cuts) for part in self.bands(weights)], dim=-1)
        doubled = _doubled(width, weight)
        weight = weight * (doubled.square() if squared else doubled)[:, None]
        weight = weight.index_select(-3, torch.argsort(_by_frequency(height, weight)))
        spectrum = torch.fft.rfft2(float_map(student - teacher, "the DFT"), norm="ortho")
        return torch.view_as_real(spectrum), weight

    def bands(self, flat: Sequence[Tensor]) -> SpectrumBands:
        """The inverse of :meth:`SpectrumBands.flat`."""
        count = len(flat) // 2
        real, imaginary = list(flat[:count]), list(flat[count:])
        return SpectrumBands(WaveletBands.from_flat(real), WaveletBands.from_flat(imaginary))

    def synthesise(self, bands: Bands, size: Optional[Sequence[int]] = None) -> Tensor:
        """The map (..., H, W), in float32 at least.

        Args:
            bands: what :meth:`analyse` gives, possibly changed.
            size: (H, W), which this inverse needs.

        Raises:
            ValueError: no ``size``, or bands of another size.
        """
        if size is None:
            raise ValueError("the inverse of a DFT needs size=(H, W)")
        flat = [float_map(band, "the inverse of the DFT") for band in bands.flat()]
        cuts = self._cuts(size)
        real, imaginary = (join(part, *cuts) for part in self.bands(flat))
        back = torch.argsort(_by_frequency(size[0], real))
        spectrum = torch.complex(real, imaginary).index_select(-2, back)
        spectrum = spectrum / _doubled(size[1], real)
        x: Tensor = torch.fft.irfft2(spectrum, s=(size[0], size[1]), norm="ortho")
        return x

    def groups(self, granularity: str = "band") -> List[BandGroup]:
        """``band``, real and imaginary part together, or ``level``, the six maps of a level.

        Raises:
            ValueError: another granularity.
        """
        return dyadic_groups(self.levels, granularity, parts=2)

    def averaged(self, weight: Tensor) -> List[Tensor]:
        """The mean over all positions, for every band."""
        return [weight.mean(dim=(-2, -1), keepdim=True)] * len(self.names)


def _doubled(width: int, like: Tensor) -> Tensor:
    """sqrt(2) for each column of the half spectrum whose mirror image is another one, else 1."""
    factor = like.new_full((width // 2 + 1,), 2**0.5)
    factor[0] = 1.0
    if width % 2 == 0:
        factor[-1] = 1.0
    return factor


def _by_frequency(height: int, like: Tensor) -> Tensor:
    """The rows of a spectrum from low to high frequency: 0, 1, -1, 2, -2, ...

    >>> _by_frequency(6, torch.zeros(1)).tolist()
    [0, 1, 5, 2, 4, 3]
    """
    steps = torch.arange(height, device=like.device)
    magnitude = (steps + 1) // 2
    return torch.where(steps % 2 == 1, magnitude, (height - magnitude) % height)
