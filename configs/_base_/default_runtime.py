"""What every config shares: logging, checkpoints, the packages that register our classes."""

custom_imports = dict(imports=["freekd.models", "freekd.datasets"], allow_failed_imports=False)
checkpoint_config = dict(interval=1, max_keep_ckpts=2)
log_config = dict(interval=10, hooks=[dict(type="TextLoggerHook")])
dist_params = dict(backend="nccl")  # gloo is taken where there is no GPU
log_level = "INFO"
load_from = None
resume_from = None
workflow = [("train", 1)]
