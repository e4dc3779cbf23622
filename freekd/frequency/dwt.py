"""The two-dimensional wavelet transform (the paper's xi) and its inverse, in pure torch.

Coefficients equal PyWavelets' ``wavedec2`` for every discrete wavelet, level count, extension mode
and size. Haar takes the fast path of :mod:`.haar`, every other wavelet :mod:`.filterbank`.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from freekd.checks import check_choice, check_integer
from freekd.frequency.bands import DetailBands, WaveletBands, band_names
from freekd.frequency.butterfly import halved
from freekd.frequency.filterbank import analyse_level, synthesise_level
from freekd.frequency.filters import HAAR_NAMES, MODES, check_mode, filter_bank, wavelet_names
from freekd.frequency.groups import GRANULARITIES, BandGroup
from freekd.frequency.haar import haar_analysis, haar_synthesis
from freekd.frequency.maps import float_map, map_size
from freekd.frequency.transform import TRANSFORMS, Bands, Transform
from freekd.registry import Family

MOST_LEVELS = 16


def check_transform(size: Sequence[int], wavelet: str, levels: int, mode: str) -> None:
    """Raise ValueError, naming the key, unless :func:`dwt2` can transform maps (..., H, W)."""
    map_size(size, "dwt2")
    if not isinstance(levels, int) or levels < 1:
        raise ValueError(f"levels must be an integer of at least 1, got {levels!r}")
    check_mode(mode)
    filter_bank(wavelet)


def haar_applies(size: Sequence[int], wavelet: str, mode: str, levels: int) -> bool:
    """Whether J levels of (..., H, W) are those of :mod:`.haar`, which extends by zeros.

    On an even size Haar never looks beyond the ends, so every mode gives the same.
    """
    even = size[-2] % 2**levels == 0 and size[-1] % 2**levels == 0
    return wavelet in HAAR_NAMES and (mode == "zero" or even)


def band_sizes(
    size: Sequence[int], wavelet: str = "haar", levels: int = 3, mode: str = "zero"
) -> List[Tuple[int, int]]:
    """(h, w) of the 3J + 1 bands of :func:`dwt2` of a map (..., H, W), without computing them.

    Raises:
        ValueError: as :func:`dwt2`.

    >>> band_sizes((25, 42), levels=2)[:2]
    [(7, 11), (13, 21)]
    """
    check_transform(size, wavelet, levels, mode)
    taps = 2 if wavelet in HAAR_NAMES else len(filter_bank(wavelet).dec_lo)
    beyond = 1 if mode == "periodization" else taps - 1  # samples that a level adds, rounding incl.
    sizes: List[Tuple[int, int]] = []
    height, width = size[-2:]
    for _ in range(levels):
        height, width = (height + beyond) // 2, (width + beyond) // 2
        sizes += [(height, width)] * 3
    return [(height, width), *sizes]


def dwt2(x: Tensor, wavelet: str = "haar", levels: int = 3, mode: str = "zero") -> WaveletBands:
    """Transform the last two axes into J levels of named wavelet bands.

    Args:
        x: map (..., H, W). Half precision is computed, and returned, in float32, also under
            autocast.
        wavelet: a discrete wavelet, named as in PyWavelets.
        levels: J >= 1. As many as asked for, whatever the size: a band has at least 1x1.
        mode: PyWavelets' signal extension mode; the paper's default is ``zero``.

    Returns:
        The bands; with Haar, level j has size ceil(H / 2^j) x ceil(W / 2^j).

    Raises:
        ValueError: for an unknown wavelet or mode, ``levels`` < 1, or a map without two axes.

    >>> import torch
    >>> bands = dwt2(torch.ones(1, 4, 4), levels=2)
    >>> [(name, tuple(band.shape)) for name, band in bands.named()][:2]
    [('LL2', (1, 1, 1)), ('LH1', (1, 2, 2))]
    >>> float(bands.low)  # orthonormal: 4 samples of 1 become 2, 4 of 2 become 4
    4.0
    """
    low = float_map(x, "dwt2")
    check_transform(x.shape, wavelet, levels, mode)
    with torch.autocast(device_type=low.device.type, enabled=False):
        if haar_applies(low.shape, wavelet, mode, levels):
            return WaveletBands.from_flat(haar_analysis(low, levels))
        details = []
        for _ in range(levels):
            if haar_applies(low.shape, wavelet, mode, 1):
                low, lh, hl, hh = haar_analysis(low)
            else:
                low, lh, hl, hh = analyse_level(low, wavelet, mode)
            details.append(DetailBands(lh, hl, hh))
    return WaveletBands(low, tuple(details))


def idwt2(
    bands: WaveletBands,
    wavelet: str = "haar",
    mode: str = "zero",
    size: Optional[Sequence[int]] = None,
) -> Tensor:
    """The inverse of :func:`dwt2` (the paper's xi~).

    Args:
        bands: what :func:`dwt2` gives, possibly changed.
        wavelet, mode: as given to :func:`dwt2`.
        size: (H, W) of the map that was transformed. An odd size comes out one larger without it.

    Raises:
        ValueError: for an unknown wavelet or mode, or a ``size`` that the bands cannot fill.
    """
    check_mode(mode)
    filter_bank(wavelet)
    low, *flat = (float_map(band, "idwt2") for band in bands.flat())
    with torch.autocast(device_type=low.device.type, enabled=False):
        if wavelet in HAAR_NAMES:
            height, width = flat[0].shape[-2:]
            fits = size is not None and halved(size) == (height, width)  # else cut below
            largest = (2 * height, 2 * width)
            low = haar_synthesis([low, *flat], size if size is not None and fits else largest)
        else:
            for level in reversed(range(bands.levels)):
                lh, hl, hh = flat[3 * level : 3 * level + 3]
                height, width = lh.shape[-2:]
                low = synthesise_level((low[..., :height, :width], lh, hl, hh), wavelet, mode)
    if size is None:
        return low
    height, width = size
    if height > low.shape[-2] or width > low.shape[-1]:
        raise ValueError(f"the bands reconstruct {tuple(low.shape[-2:])}, size={tuple(size)} asked")
    return low[..., :height, :width]


_WORDS = "the name of a discrete wavelet of PyWavelets (pip install PyWavelets)"


@TRANSFORMS.register("dwt", Family("wavelet", wavelet_names, _WORDS))
class WaveletTransform(Transform):
    """J levels of a discrete wavelet: 3J + 1 bands, LL_J, then LH, HL, HH of levels 1 to J.

    Args:
        wavelet: named as in PyWavelets.
        levels: J, 1 to 16.
        mode: PyWavelets' signal extension mode.

    In a config the wavelet's name is the type: ``dict(type='db2', levels=2, mode='symmetric')``.

    Raises:
        ValueError: an option out of range; names it.

    >>> transform = WaveletTransform(levels=1)
    >>> transform.names, transform.sizes((25, 42))[0]
    (('LL1', 'LH1', 'HL1', 'HH1'), (13, 21))
    >>> [group.name for group in WaveletTransform(levels=2).groups("level")]
    ['LL2', 'level1', 'level2']
    """

    def __init__(self, wavelet: str = "haar", levels: int = 3, mode: str = "zero") -> None:
        if not isinstance(wavelet, str):
            raise ValueError(f"wavelet must be a name such as 'haar', got {wavelet!r}")
        filter_bank(wavelet)
        check_integer("levels", levels, MOST_LEVELS)
        check_choice("mode", mode, MODES)
        self.wavelet, self.levels, self.mode = wavelet, levels, mode
        self.names = tuple(band_names(levels))
        self.grid = 2**levels

    def to_dict(self) -> Dict[str, Any]:
        """``type`` (the wavelet), ``levels``, ``mode``."""
        return {"type": self.wavelet, "levels": self.levels, "mode": self.mode}

    def sizes(self, size: Sequence[int]) -> List[Tuple[int, int]]:
        """With Haar, level j is ceil(H / 2^j) x ceil(W / 2^j)."""
        return band_sizes(size, self.wavelet, self.levels, self.mode)

    def analyse(self, x: Tensor) -> WaveletBands:
        """See :func:`freekd.frequency.dwt2`."""
        return dwt2(x, self.wavelet, self.levels, self.mode)

    def bands(self, flat: Sequence[Tensor]) -> WaveletBands:
        """The inverse of :meth:`freekd.frequency.WaveletBands.flat`."""
        return WaveletBands.from_flat(list(flat))

    def synthesise(self, bands: Bands, size: Optional[Sequence[int]] = None) -> Tensor:
        """See :func:`freekd.frequency.idwt2`."""
        return idwt2(self.bands(bands.flat()), self.wavelet, self.mode, size)

    def groups(self, granularity: str = "band") -> List[BandGroup]:
        """``band``, each by itself (the paper), or ``level``, the three of a level (the release).

        Raises:
            ValueError: another granularity.
        """
        check_choice("granularity", granularity, GRANULARITIES)
        low = BandGroup(self.names[0], (0,), True)
        if granularity == "band":
            details = enumerate(self.names[1:], start=1)
            return [low, *(BandGroup(name, (i,), False) for i, name in details)]
        members = [(3 * j - 2, 3 * j - 1, 3 * j) for j in range(1, self.levels + 1)]
        return [low, *(BandGroup(f"level{j}", m, False) for j, m in enumerate(members, start=1))]

    def averaged(self, weight: Tensor) -> List[Tensor]:
        """The mean around each coefficient's place; with Haar over its own 2^j x 2^j samples."""
        if self.wavelet not in HAAR_NAMES:
            return super().averaged(weight)
        levels = [self.levels, *(1 + k // 3 for k in range(3 * self.levels))]
        return [F.avg_pool2d(weight, 2**level, ceil_mode=True) for level in levels]

    def haar_levels(self, size: Sequence[int]) -> int:
        """J where the wavelet is Haar and the mode ``zero``, or of no account: on even sizes."""
        return self.levels if haar_applies(size, self.wavelet, self.mode, self.levels) else 0


HAAR = WaveletTransform()  # the paper's: J = 3, zero extension
