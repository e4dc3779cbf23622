"""Processes and devices: the process group, seeds, the logger, wrapping of models, errors."""

import contextlib
import logging
import os
import random
import sys
from types import SimpleNamespace
from typing import Any, Iterator, Optional

import mmcv
import numpy as np
import torch
from mmcv.runner import get_dist_info, init_dist

from freekd import compat
from freekd.engine.checkpoint import CheckpointError
from freekd.engine.setup import ConfigError
from freekd.fileio import UnreadableFileError
from freekd.functional import FeatureError

_HELPFUL = (ConfigError, FeatureError, CheckpointError, UnreadableFileError, FileNotFoundError)


@contextlib.contextmanager
def friendly_errors() -> Iterator[SimpleNamespace]:
    """Print errors that help as one line; everything else keeps its traceback.

    The object given has the exit ``code``. ``FREEKD_DEBUG=1`` shows every traceback.
    """
    outcome = SimpleNamespace(code=0)
    try:
        yield outcome
    except _HELPFUL + (FloatingPointError,) as error:
        if os.environ.get("FREEKD_DEBUG"):
            raise
        outcome.code = 1
        print(f"error: {error}\n(FREEKD_DEBUG=1 shows where it came from)", file=sys.stderr)
    except KeyboardInterrupt:
        outcome.code = 130
        print("interrupted; --auto-resume continues from the last checkpoint", file=sys.stderr)


@contextlib.contextmanager
def process_group(launcher: str) -> Iterator[bool]:
    """Join the process group (nccl, or gloo without GPUs) for the block; say whether there is one.

    Started by torchrun without ``--launcher``, its environment counts as ``pytorch``.
    """
    distributed = _init_processes(launcher)
    try:
        yield distributed
    finally:
        if distributed and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _init_processes(launcher: str) -> bool:
    if launcher == "none" and int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:
        launcher = "pytorch"
    if torch.multiprocessing.get_start_method(allow_none=True) is None and os.name == "posix":
        # init_dist would choose spawn, whose workers import this script again without its patches
        torch.multiprocessing.set_start_method("fork")
    if launcher == "none":
        return False
    if launcher == "pytorch" and "RANK" not in os.environ:
        raise ConfigError(
            "--launcher pytorch: expected torchrun's variables RANK, WORLD_SIZE, LOCAL_RANK in "
            "the environment, found none. Start with: bash tools/dist_train.sh CONFIG GPUS"
        )
    if launcher == "slurm" and "SLURM_PROCID" not in os.environ:
        raise ConfigError(
            "--launcher slurm: expected slurm's variables SLURM_PROCID, SLURM_NTASKS in the "
            "environment, found none. Start with: bash tools/slurm_train.sh"
        )
    init_dist(launcher, backend="nccl")
    return True


def choose_device(device: Optional[str]) -> str:
    """``'cuda'`` or ``'cpu'``: as asked, else CUDA where there is one."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device: expected 'cpu' or 'cuda', got {device!r}. Correct it.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: expected a GPU, but torch sees none. Use --device cpu, or check the "
            "driver and that this torch was built for CUDA."
        )
    return device


def wrap_for_training(
    model: torch.nn.Module, device: str, distributed: bool, find_unused_parameters: bool = False
) -> torch.nn.Module:
    """Put the model on its device, into mmcv's (distributed) data-parallel wrapper."""
    from mmcv.parallel import MMDistributedDataParallel

    if not distributed:
        return wrap_for_test(model, device)
    on_gpu = device == "cuda"
    return MMDistributedDataParallel(
        model.cuda() if on_gpu else model,
        device_ids=[torch.cuda.current_device()] if on_gpu else None,
        broadcast_buffers=False,
        find_unused_parameters=find_unused_parameters,
    )


def wrap_for_test(model: torch.nn.Module, device: str) -> torch.nn.Module:
    """Put the model on its device, into mmcv's data-parallel wrapper, which unpacks the data."""
    from mmcv.parallel import MMDataParallel

    if device == "cuda":
        return MMDataParallel(model.cuda(), device_ids=[torch.cuda.current_device()])
    return compat.cpu_data_parallel(model)


def set_random_seed(seed: int, deterministic: bool = False) -> None:
    """Seed random, numpy and torch; with ``deterministic``, cuDNN too."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if deterministic:
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False


def share_seed(seed: Optional[int]) -> int:
    """The given seed, or a random one that all processes agree on."""
    if seed is not None:
        return int(seed)
    shared = [random.SystemRandom().randrange(2**31)]
    if get_dist_info()[1] > 1:
        torch.distributed.broadcast_object_list(shared, src=0)
    return shared[0]


def make_logger(log_file: Optional[str] = None, level: Any = "INFO") -> logging.Logger:
    """The logger ``freekd``; a second run in one process gets its own file."""
    from mmcv.utils import logging as mmcv_logging

    logger = logging.getLogger("freekd")
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)
    mmcv_logging.logger_initialized.pop("freekd", None)
    logger.propagate = False
    quiet = mmcv.utils.get_logger("mmcv")  # it lists the initialisation of every weight
    for part in (quiet, *quiet.handlers):
        part.setLevel(logging.WARNING)
    return mmcv.utils.get_logger("freekd", log_file=log_file, log_level=level)
