"""mmcv's runners and checkpoint files."""

import functools
import inspect
import os
import types
from typing import Any, Dict

import torch

from freekd import fileio


def fix_checkpoint_loading() -> None:
    """Read checkpoint files weights-only, on every torch and from URLs too.

    torch >= 2.6 does so by default for files; older ones, and ``load_url`` of all versions, do not.
    Errors of the local reader say what came and what to do.
    """
    from mmcv.runner import checkpoint

    def load_from_local(filename: str, map_location: Any = None) -> Any:
        return fileio.load_checkpoint_file(filename, map_location=map_location)

    checkpoint.CheckpointLoader.register_scheme("", load_from_local, force=True)
    if "weights_only" in inspect.signature(checkpoint.load_url).parameters:
        checkpoint.load_url = functools.partial(checkpoint.load_url, weights_only=True)


def fix_checkpoint_writing() -> None:
    """Write files and the latest.pth link atomically: mmcv writes in place.

    A process killed in the middle would leave a truncated checkpoint as the newest one.
    """
    import mmcv
    from mmcv.fileio.file_client import HardDiskBackend

    def put(self: Any, obj: bytes, filepath: Any) -> None:
        fileio.atomic_write_bytes(filepath, obj)

    def symlink(src: str, dst: str, overwrite: bool = True, **kwargs: Any) -> None:
        if os.path.lexists(dst) and not overwrite:
            raise FileExistsError(f"{dst} exists")
        fileio.atomic_symlink(src, dst)

    HardDiskBackend.put = put
    mmcv.symlink = mmcv.utils.symlink = symlink


def fix_iter_runner_resume() -> None:
    """IterBasedRunner.resume needs a GPU and repeats one iteration.

    mmcv 1.x writes iter_10.pth with ``meta['iter'] == 9``, so resuming runs iteration 10 twice;
    the correction is made on reading, so that checkpoints written before profit too.
    """
    from mmcv.runner import IterBasedRunner

    original = IterBasedRunner.resume

    @functools.wraps(original)
    def resume(
        self: Any, checkpoint: str, resume_optimizer: bool = True, map_location: Any = "default"
    ) -> None:
        if map_location == "default":
            map_location = "cpu"  # load_state_dict moves the tensors to the model's device
        original(self, checkpoint, resume_optimizer, map_location)
        self._iter += 1
        self._inner_iter = self._iter

    IterBasedRunner.resume = resume


def iterations_done(meta: Dict[str, Any], by_epoch: bool) -> int:
    """Iterations behind a checkpoint of mmcv's runners, from its meta.

    The iteration runner writes the number before it counts the iteration it just did.
    """
    return int(meta["iter"]) + (0 if by_epoch else 1)


def rename_old_offsets(model: torch.nn.Module, state: Dict[str, Any]) -> None:
    """Deformable convolutions of 2020: ``conv2_offset.weight`` is ``conv2.conv_offset.weight`` now.

    mmcv's modules rename it while they load, but torch >= 1.13 shows a module only the names below
    its own, so they find nothing and the offsets would silently stay zero. Changes ``state``.
    """
    for prefix, module in model.named_modules():
        if not hasattr(module, "conv_offset"):
            continue
        for kind in ("weight", "bias"):
            old, new = f"{prefix}_offset.{kind}", f"{prefix}.conv_offset.{kind}"
            if old in state and new not in state:
                state[new] = state.pop(old)


def rename_weights(model: torch.nn.Module, state: Dict[str, Any]) -> None:
    """Give weights that a file has under other names those of ``model``, in place.

    Old names as :func:`rename_old_offsets` knows them; and what the model says by itself in
    ``rename_weights(state)``, as a network does that another host has under other names.
    """
    rename_old_offsets(model, state)
    own = getattr(model, "rename_weights", None)
    if callable(own):
        own(state)


def shorten_epoch_pause() -> None:
    """mmcv sleeps 2 s per epoch for its worker processes: not needed where there are none."""
    from mmcv.runner import epoch_based_runner

    module = epoch_based_runner
    if not isinstance(module.time, types.SimpleNamespace):
        real = module.time
        module.time = types.SimpleNamespace(sleep=lambda _: None, time=real.time)
