"""300 epochs of SGD, cosine from 0.05 to 0.001, for 1024 images a step."""

optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=2e-3)
optimizer_config = dict(grad_clip=None)
lr_config = dict(policy="CosineAnnealing", min_lr=1e-3)
runner = dict(type="EpochBasedRunner", max_epochs=300)
