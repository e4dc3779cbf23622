"""Teacher of the DINO pair on the bundled task: 40 epochs."""

_base_ = [
    "../_base_/models/dino_r18w32_digits.py",
    "../_base_/digits_dino_16e.py",
]
runner = dict(max_epochs=40)
