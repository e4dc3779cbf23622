"""200 epochs of SGD, a tenth of the rate after 60, 120 and 160, for 128 images a step."""

optimizer = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4)
optimizer_config = dict(grad_clip=None)
lr_config = dict(policy="step", step=[60, 120, 160])
runner = dict(type="EpochBasedRunner", max_epochs=200)
