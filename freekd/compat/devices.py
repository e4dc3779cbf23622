"""What takes a GPU for granted."""

import functools
import os
from typing import Any, Dict, List

import torch

from freekd.held import with_held


def fix_reppoints_device() -> None:
    """RepPointsHead lets mmdet's default device 'cuda' through: use the features'."""
    from mmdet.models.dense_heads import RepPointsHead

    original = RepPointsHead.get_points

    @functools.wraps(original)
    def get_points(self: Any, featmap_sizes: Any, img_metas: Any, device: Any) -> Any:
        generator = self.prior_generator
        generator.valid_flags = functools.partial(
            type(generator).valid_flags, generator, device=device
        )
        try:
            return original(self, featmap_sizes, img_metas, device)
        finally:
            del generator.valid_flags

    RepPointsHead.get_points = get_points


def usable_optimizer(cfg: Dict[str, Any], device: str) -> Dict[str, Any]:
    """The config's ``optimizer``, without ``fused=True`` where this torch cannot do that.

    The fused AdamW saves a fifth of a training step on a CPU; torch has it there since 2.4, on
    GPUs since 2.0.
    """
    if not cfg.get("fused"):
        return cfg
    try:
        parameter = torch.nn.Parameter(torch.zeros(1, device=device))
        torch.optim.AdamW([parameter], fused=True)
    except (TypeError, RuntimeError):
        return {key: value for key, value in cfg.items() if key != "fused"}
    return cfg


def plain_batch_norm(model: torch.nn.Module) -> int:
    """Let SyncBN, which only works on GPUs, run as ordinary BN; returns how many.

    The layers stay the objects they are, with their hooks: mmcv's ``revert_sync_batchnorm`` puts
    new ones in their place, and a tap on the old one would never run. Teachers are included.
    """
    from mmcv.cnn.utils.sync_bn import _BatchNormXd

    modules = [module for root in with_held(model) for module in root.modules()]
    synced = [module for module in modules if type(module).__name__ == "SyncBatchNorm"]
    for module in synced:
        module.__class__ = _BatchNormXd
    return len(synced)


def hide_gpus_if_asked(argv: List[str]) -> None:
    """With ``--device cpu``, hide the GPUs before CUDA starts.

    Much of mmdet 2.x takes 'cuda' wherever torch sees a GPU, whatever the model's device is.
    """
    words = " ".join(argv).replace("=", " ").split()
    if ("--device", "cpu") in zip(words, words[1:]) and not torch.cuda.is_initialized():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
