"""12 epochs of 75 iterations: AdamW, warm-up, cosine."""

_base_ = ["digits_8e.py"]
runner = dict(max_epochs=12)
