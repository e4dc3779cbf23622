"""Student of the DINO pair on the bundled task alone."""

_base_ = [
    "../_base_/models/dino_r18w16_digits.py",
    "../_base_/digits_dino_16e.py",
]
