"""Prompts of a segmentor (MasKD's public recipe): SGD 0.1, 10 000 iterations, poly."""

optimizer = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=0.001)
optimizer_config = dict(grad_clip=None)
lr_config = dict(policy="poly", power=0.9, min_lr=0.0, by_epoch=False)
runner = dict(type="IterBasedRunner", max_iters=10000)
checkpoint_config = dict(interval=1000, by_epoch=False, max_keep_ckpts=1)
evaluation = dict(interval=10000, metric="mIoU", pre_eval=True)
