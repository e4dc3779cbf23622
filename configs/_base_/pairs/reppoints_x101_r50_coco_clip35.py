"""RepPoints X101-DCN -> R50, gradients clipped at norm 35."""

_base_ = ["reppoints_x101_r50_coco.py"]
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=35, norm_type=2))
