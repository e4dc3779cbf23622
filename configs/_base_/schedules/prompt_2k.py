"""The recipe for prompts (MasKD's public one): Adam, 2000 iterations, cosine to 1e-6."""

optimizer = dict(type="Adam", lr=0.01, weight_decay=0.001)
optimizer_config = dict(grad_clip=None)
lr_config = dict(policy="CosineAnnealing", by_epoch=False, min_lr=1e-6)
runner = dict(type="IterBasedRunner", max_iters=2000)
checkpoint_config = dict(interval=500, by_epoch=False, max_keep_ckpts=1)
