"""Processes and devices: the process group, seeds, the logger, wrapping of models, errors."""

import contextlib
import logging
import os
import random
import socket
import time
from typing import Any, Iterator, Mapping, Optional

import mmcv
import numpy as np
import torch
from mmcv.runner import get_dist_info, init_dist

from freekd import compat
from freekd.config.load import ConfigError
from freekd.engine.torchrun import end_with_launcher

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".running"


@contextlib.contextmanager
def process_group(launcher: str) -> Iterator[bool]:
    """Join the process group (nccl, or gloo without GPUs) for the block; say whether there is one.

    Started by torchrun without ``--launcher``, its environment counts as ``pytorch``.
    """
    distributed = _init_processes(launcher)
    yield distributed
    # Not after an error, see friendly_errors.
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
    if launcher == "pytorch":
        if "RANK" not in os.environ:
            raise ConfigError(
                "--launcher pytorch: expected torchrun's variables RANK, WORLD_SIZE, LOCAL_RANK in "
                "the environment, found none. Start with: bash tools/dist_train.sh CONFIG GPUS"
            )
        end_with_launcher()
    if launcher == "slurm":
        if "SLURM_PROCID" not in os.environ:
            raise ConfigError(
                "--launcher slurm: expected slurm's variables SLURM_PROCID, SLURM_NTASKS in the "
                "environment, found none. Start with: bash tools/slurm_train.sh"
            )
        os.environ.setdefault("MASTER_PORT", str(slurm_port(os.environ)))
    _check_gpus(launcher)
    init_dist(launcher, backend="nccl")
    return True


def slurm_port(environment: Mapping[str, str]) -> int:
    """A port that all tasks of a slurm step agree on, and another step hardly shares.

    mmcv lets each task look for a free one by itself where 29500 is taken: they never meet.
    """
    job = int(environment.get("SLURM_JOB_ID", 0))
    step = int(environment.get("SLURM_STEP_ID", 0))
    return 20000 + (101 * job + step) % 12000  # below the ports that systems give out by themselves


def _check_gpus(launcher: str) -> None:
    """NCCL refuses two processes on one GPU, in words that do not say so."""
    name = "LOCAL_WORLD_SIZE" if launcher == "pytorch" else "SLURM_NTASKS_PER_NODE"
    here = os.environ.get(name, "")
    if torch.cuda.is_available() and here.isdigit() and int(here) > torch.cuda.device_count():
        # Under slurm each task may see its own GPU only.
        if launcher == "slurm" and torch.cuda.device_count() == 1:
            return
        raise ConfigError(
            f"Expected a GPU for each process on this machine, but {here} processes were started "
            f"and torch sees {torch.cuda.device_count()} GPUs. Start as many processes as GPUs, "
            "or run on the CPU by --device cpu."
        )


@contextlib.contextmanager
def own_work_dir(work_dir: str, patience: float = 15.0) -> Iterator[None]:
    """Keep other runs out of ``work_dir`` for the block (process 0; the others do nothing).

    Two runs in one folder would delete and continue each other's files. The lock is the kernel's,
    of this process alone: it ends with the process, in whatever way, and a forked worker that
    outlives it for a moment does not hold it. Waits ``patience`` seconds for a run that is ending.

    Raises:
        ConfigError: another run writes there; says which.
    """
    if get_dist_info()[0] != 0 or fcntl is None:
        yield
        return
    try:
        os.makedirs(work_dir, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"work_dir: expected a folder that can be made, got {work_dir} ({error}). Give another "
            "with --work-dir."
        ) from error
    path = os.path.join(work_dir, LOCK_FILE)
    with open(path, "a+", encoding="utf-8") as handle:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if time.monotonic() < end:
                    time.sleep(0.2)
                    continue
                handle.seek(0)
                raise ConfigError(
                    f"work_dir: expected a folder that no other run writes to, but in {work_dir} "
                    f"runs {handle.read().strip() or 'another one'}. Wait for it, end it, or give "
                    "another folder with --work-dir."
                ) from None
            except OSError:  # a file system without locks
                break
        handle.seek(0)
        handle.truncate()
        handle.write(f"process {os.getpid()} of {socket.gethostname()}\n")
        handle.flush()
        yield


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
    model: torch.nn.Module,
    device: str,
    distributed: bool,
    find_unused_parameters: Optional[bool] = None,
) -> torch.nn.Module:
    """Put the model on its device, into mmcv's (distributed) data-parallel wrapper.

    ``find_unused_parameters`` costs a little time in each step; by default it is on only where
    parameters are bound to get no gradient: MMRazor's own distiller leaves its teacher trainable.
    """
    from mmcv.parallel import MMDistributedDataParallel

    if not distributed:
        return wrap_for_test(model, device)
    if find_unused_parameters is None:
        teacher = getattr(getattr(model, "distiller", None), "teacher", None)
        find_unused_parameters = teacher is not None and any(
            parameter.requires_grad for parameter in teacher.parameters()
        )
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
