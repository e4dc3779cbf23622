"""10 epochs of 90 iterations: SGD, warm-up, cosine."""

optimizer = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
optimizer_config = dict(grad_clip=None)
lr_config = dict(
    policy="CosineAnnealing",
    by_epoch=False,
    warmup="linear",
    warmup_iters=90,
    warmup_ratio=0.01,
    min_lr=0.0,
)
runner = dict(type="EpochBasedRunner", max_epochs=10)
checkpoint_config = dict(interval=1, max_keep_ckpts=1)
