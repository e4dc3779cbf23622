"""12 epochs of DINO's AdamW, for 16 images (8 GPUs of 2); the rate drops after 11."""

optimizer = dict(
    type="AdamW",
    lr=1e-4,
    weight_decay=1e-4,
    paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=0.1)}),
)
optimizer_config = dict(grad_clip=dict(max_norm=0.1, norm_type=2))
lr_config = dict(policy="step", step=[11])
runner = dict(type="EpochBasedRunner", max_epochs=12)
