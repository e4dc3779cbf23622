"""16 epochs of 50 iterations for a DINO on the bundled task: AdamW, warm-up, cosine."""

_base_ = ["digits_8e.py"]
optimizer_config = dict(grad_clip=dict(max_norm=1.0))
runner = dict(max_epochs=16)
