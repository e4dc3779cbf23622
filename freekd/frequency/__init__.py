"""Frequency transforms in pure torch, with named bands."""

from freekd.frequency.bands import DetailBands, WaveletBands, band_names
from freekd.frequency.dct import CosineTransform
from freekd.frequency.dft import FourierTransform, SpectrumBands
from freekd.frequency.dwt import HAAR, WaveletTransform, dwt2, idwt2
from freekd.frequency.filters import MODES
from freekd.frequency.transform import TRANSFORMS, Bands, Transform, build_transform

__all__ = [
    "HAAR",
    "MODES",
    "TRANSFORMS",
    "Bands",
    "CosineTransform",
    "DetailBands",
    "FourierTransform",
    "SpectrumBands",
    "Transform",
    "WaveletBands",
    "WaveletTransform",
    "band_names",
    "build_transform",
    "dwt2",
    "idwt2",
]
