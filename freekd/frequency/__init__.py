"""Frequency transforms in pure torch, with named bands."""

from freekd.frequency.bands import DetailBands, WaveletBands, band_names
from freekd.frequency.filters import MODES
from freekd.frequency.wavelet import dwt2, idwt2

__all__ = ["MODES", "DetailBands", "WaveletBands", "band_names", "dwt2", "idwt2"]
