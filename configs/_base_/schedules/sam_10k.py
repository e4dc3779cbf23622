"""10 000 iterations of 32 images: AdamW, linear warm-up, drops as Segment Anything's own (ours)."""

optimizer = dict(type="AdamW", lr=8e-4, betas=(0.9, 0.999), weight_decay=0.1)
optimizer_config = dict(grad_clip=None)
lr_config = dict(
    policy="step",
    by_epoch=False,
    step=[6667, 9630],
    gamma=0.1,
    warmup="linear",
    warmup_iters=250,
    warmup_ratio=0.001,
)
runner = dict(type="IterBasedRunner", max_iters=10000)
checkpoint_config = dict(interval=1000, by_epoch=False, max_keep_ckpts=2)
