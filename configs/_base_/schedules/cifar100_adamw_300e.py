"""300 epochs of AdamW for 1024 images a step: rate 5e-4, 20 of warm-up, cosine, clipped at 5."""

_base_ = ["imagenet_adamw_300e.py"]
optimizer = dict(lr=5e-4)
