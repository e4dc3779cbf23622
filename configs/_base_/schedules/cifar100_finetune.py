"""30 epochs of AdamW from weights of ImageNet, for 512 images a step; of no paper."""

optimizer = dict(type="AdamW", lr=1e-4, weight_decay=0.05)
optimizer_config = dict(grad_clip=dict(max_norm=5.0))
lr_config = dict(
    policy="CosineAnnealing", by_epoch=False, min_lr=0.0, warmup="linear", warmup_iters=300
)
runner = dict(type="EpochBasedRunner", max_epochs=30)
