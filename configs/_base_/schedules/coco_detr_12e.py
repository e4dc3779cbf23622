"""12 epochs of stock Deformable DETR's AdamW, for 32 images; the rate drops after 11."""

from freekd.zoo.stock import stock

optimizer, optimizer_config = stock(
    "mmdet::deformable_detr/deformable_detr_r50_16x2_50e_coco.py", "optimizer", "optimizer_config"
)
lr_config = dict(policy="step", step=[11])
runner = dict(type="EpochBasedRunner", max_epochs=12)
