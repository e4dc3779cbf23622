"""8 epochs of 50 iterations: AdamW, warm-up, cosine."""

_base_ = ["digits_8e.py"]
optimizer = dict(lr=2e-3)
runner = dict(max_epochs=8)
