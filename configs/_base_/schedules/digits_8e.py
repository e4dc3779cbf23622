"""8 epochs of 50 iterations: AdamW, warm-up, cosine."""

optimizer = dict(type="AdamW", lr=1e-3, weight_decay=1e-2, fused=True)
optimizer_config = dict(grad_clip=dict(max_norm=10, norm_type=2))
lr_config = dict(
    policy="CosineAnnealing",
    by_epoch=False,
    warmup="linear",
    warmup_iters=100,
    warmup_ratio=0.01,
    min_lr=0.0,
)
runner = dict(type="EpochBasedRunner", max_epochs=8)
checkpoint_config = dict(interval=1, max_keep_ckpts=2)
