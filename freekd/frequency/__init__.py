"""Frequency transforms in pure torch, with named bands."""

from .bands import DetailBands, WaveletBands, band_names
from .filters import MODES
from .wavelet import dwt2, idwt2

__all__ = ["MODES", "DetailBands", "WaveletBands", "band_names", "dwt2", "idwt2"]
