"""Work-arounds for the 2022-era OpenMMLab stack on today's torch: each with its reason.

:func:`apply` makes mmcv-full 1.x, mmdet 2.x, mmseg 0.x and mmrazor 0.3.x work together with torch
up to 2.11 and numpy up to 1.26, on GPU and on CPU. Every fix first tests for the fault itself, not
for a version number, and changes objects in memory only: the packages on disk stay as they are.
Seen with torch 2.11.0, mmcv-full 1.7.2, mmdet 2.28.2, mmsegmentation 0.30.0, mmrazor 0.3.1.
"""

import contextlib
import functools
import importlib
import inspect
import logging
import os
import sys
import tempfile
import types
import warnings
from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np
import torch

from freekd import fileio
from freekd.compat.precision import (  # noqa: F401 (mixed precision)
    autocast_of,
    run_ops_in_float32,
    to_float32,
    unwrap_low_precision,
    use_low_precision,
    wrap_low_precision,
)
from freekd.held import with_held

_applied = False


def apply() -> None:
    """Apply every fix once. Imports mmcv, mmdet, mmseg and mmrazor; safe to call again.

    Raises:
        ImportError: One of the packages is missing; the message names it.
    """
    global _applied
    if _applied:
        return
    _add_numpy_aliases()
    _stub_pkg_resources()
    fileio.allow_numpy_in_checkpoints()
    with quiet_imports():
        _require("mmcv", "mmcv-full")
        _require("mmdet", "mmdet")
        _require("mmseg", "mmsegmentation")
        _import_mmrazor()
    _fix_scatter_stream()
    _fix_ddp()
    _fix_checkpoint_loading()
    _fix_checkpoint_writing()
    _fix_iter_runner_resume()
    _fix_init_dist()
    _fix_seed_device()
    _fix_reppoints_device()
    _fix_collect_results()
    _applied = True


def apply_in_worker() -> None:
    """What loading data needs, in a worker that was spawned and not forked."""
    _add_numpy_aliases()
    _stub_pkg_resources()


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Without mmcv's notice of its version 2 and torch's of a missing CUDA compiler."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="On January 1, 2023, MMCV will release")
            yield
    finally:
        logger.setLevel(level)


def _require(module: str, package: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"freekd needs {package} for training and testing, but importing {module} failed "
            f"({error}). Run: bash tools/setup_env.sh"
        ) from error


# --------------------------------------------------------------------------- import time
def _add_numpy_aliases() -> None:
    """numpy >= 1.24 removed np.int & co.; mmdet 2.x and mmcv 1.x still use them."""
    for name, kind in (("int", int), ("float", float), ("bool", bool), ("object", object)):
        if name not in vars(np):
            setattr(np, name, kind)


def _stub_pkg_resources() -> None:
    """setuptools >= 82 has no pkg_resources; pytorch_wavelets 1.3 reads its filters with it.

    Only ``resource_stream`` is offered, which is all that is used.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its deprecation notice
            importlib.import_module("pkg_resources")
    except ImportError:
        stub = types.ModuleType("pkg_resources")

        def resource_stream(package: str, resource: str) -> Any:
            folder = os.path.dirname(str(importlib.import_module(package).__file__))
            return open(os.path.join(folder, *resource.split("/")), "rb")

        stub.resource_stream = resource_stream  # type: ignore[attr-defined]
        sys.modules["pkg_resources"] = stub


def _import_mmrazor() -> None:
    """mmrazor 0.3.1 asserts mmcv <= 1.5.0; the later 0.x branch allows 1.8.0 unchanged.

    Only when that assertion fails, mmcv reports 1.5.0 for the time of the import.
    """
    try:
        importlib.import_module("mmrazor.models")
        return
    except AssertionError:
        pass
    except ImportError as error:
        raise ImportError(
            f"freekd needs mmrazor 0.3.x, but importing it failed ({error}). "
            "Run: bash tools/setup_env.sh"
        ) from error
    import mmcv

    version = mmcv.__version__
    mmcv.__version__ = "1.5.0"
    try:
        importlib.import_module("mmrazor.models")
    finally:
        mmcv.__version__ = version


# --------------------------------------------------------------------------- mmcv.parallel
def _fix_scatter_stream() -> None:
    """torch >= 2.1: ``_get_stream`` wants a torch.device, mmcv 1.x gives it an int.

    Without this every step on a GPU ends in "'int' object has no attribute 'type'".
    """
    from mmcv.parallel import _functions

    try:
        _functions._get_stream(-1)
        return
    except AttributeError:
        pass
    streams: Dict[int, Any] = {}

    def get_stream(device: int) -> Any:
        if device < 0:
            return None
        if device not in streams:
            streams[device] = torch.cuda.Stream(device)
        return streams[device]

    _functions._get_stream = get_stream


def _fix_ddp() -> None:
    """MMDistributedDataParallel on torch >= 2.1, and on CPU.

    ``_run_ddp_forward`` reads attributes that torch removed, so distributed evaluation fails; and
    without device ids nothing unpacks the DataContainers ('DataContainer' is not subscriptable).
    """
    from mmcv.parallel import MMDistributedDataParallel as DDP

    if not hasattr(torch.nn.parallel.DistributedDataParallel, "_use_replicated_tensor_module"):

        def run_ddp_forward(self: Any, *inputs: Any, **kwargs: Any) -> Any:
            device = self.device_ids[0] if self.device_ids else -1
            inputs, kwargs = self.to_kwargs(inputs, kwargs, device)
            return self.module(*inputs[0], **kwargs[0])

        DDP._run_ddp_forward = run_ddp_forward

    def unpack_on_cpu(step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def wrapper(self: Any, *inputs: Any, **kwargs: Any) -> Any:
            if not self.device_ids:
                scattered, keywords = self.scatter(inputs, kwargs, [-1])
                inputs, kwargs = scattered[0], keywords[0]
            return step(self, *inputs, **kwargs)

        return wrapper

    DDP.train_step = unpack_on_cpu(DDP.train_step)
    DDP.val_step = unpack_on_cpu(DDP.val_step)


def cpu_data_parallel(model: torch.nn.Module) -> torch.nn.Module:
    """mmcv's MMDataParallel on the CPU, also where GPUs exist (it would move the model to one)."""
    from mmcv.parallel import MMDataParallel

    class CPUDataParallel(MMDataParallel):  # type: ignore[misc,valid-type]
        def __init__(self, module: torch.nn.Module) -> None:
            torch.nn.Module.__init__(self)
            self.module, self.dim, self.device_ids, self.output_device = module, 0, [], None

    return CPUDataParallel(model)


# --------------------------------------------------------------------------- checkpoints
def _fix_checkpoint_loading() -> None:
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


def _fix_checkpoint_writing() -> None:
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


def _fix_iter_runner_resume() -> None:
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


# --------------------------------------------------------------------------- distributed
def _fix_init_dist() -> None:
    """mmcv's ``init_dist`` divides by the number of GPUs: gloo where there are none."""
    from mmcv.runner import dist_utils

    def on_cpu(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def wrapper(backend: str = "nccl", **kwargs: Any) -> None:
            if torch.cuda.is_available():
                original(backend, **kwargs)
                return
            port = kwargs.pop("port", None)
            if "SLURM_PROCID" in os.environ and "RANK" not in os.environ:
                _slurm_environment(port)
            torch.distributed.init_process_group("gloo", **kwargs)

        return wrapper

    dist_utils._init_dist_pytorch = on_cpu(dist_utils._init_dist_pytorch)
    dist_utils._init_dist_slurm = on_cpu(dist_utils._init_dist_slurm)


def _slurm_environment(port: Optional[int] = None) -> None:
    """Set torch.distributed's variables from slurm's, as mmcv does on GPUs."""
    import subprocess

    environment = os.environ
    nodes = environment["SLURM_NODELIST"]
    if "MASTER_ADDR" not in environment:
        names = subprocess.run(
            ["scontrol", "show", "hostname", nodes], stdout=subprocess.PIPE, check=True
        ).stdout.decode()
        environment["MASTER_ADDR"] = names.split()[0]
    environment["MASTER_PORT"] = str(port or environment.get("MASTER_PORT", 29500))
    environment["WORLD_SIZE"] = environment["SLURM_NTASKS"]
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["LOCAL_RANK"] = environment.get("SLURM_LOCALID", "0")


def _fix_seed_device() -> None:
    """The helpers that share a seed broadcast on 'cuda' by default: use the CPU."""
    if torch.cuda.is_available():
        return
    places = ("mmdet.apis.train", "mmseg.apis.train", "mmrazor.apis.utils")
    helpers = [(place, "init_random_seed") for place in places]
    helpers += [("mmdet.core.utils.dist_utils", "sync_random_seed")]
    helpers += [("mmseg.core.utils.dist_util", "sync_random_seed")]
    for place, name in helpers:
        function = getattr(importlib.import_module(place), name, None)
        if function is not None and function.__defaults__ == (None, "cuda"):
            function.__defaults__ = (None, "cpu")  # reaches every module that imported it


def _fix_collect_results() -> None:
    """Gathering results without a tmpdir allocates on 'cuda': share a folder's name."""

    def on_cpu(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(result_part: List[Any], size: int, tmpdir: Optional[str] = None) -> Any:
            if tmpdir is None and not torch.cuda.is_available():
                shared = [tempfile.mkdtemp(prefix="freekd_test_")]
                torch.distributed.broadcast_object_list(shared, src=0)
                tmpdir = shared[0]
            return original(result_part, size, tmpdir)

        return wrapper

    for place in ("mmdet.apis.test", "mmcv.engine.test", "mmseg.apis.test"):
        module = importlib.import_module(place)
        if hasattr(module, "collect_results_cpu"):
            module.collect_results_cpu = on_cpu(module.collect_results_cpu)  # type: ignore


# --------------------------------------------------------------------------- CPU
def _fix_reppoints_device() -> None:
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


def shorten_epoch_pause() -> None:
    """mmcv sleeps 2 s per epoch for its worker processes: not needed where there are none."""
    from mmcv.runner import epoch_based_runner

    module = epoch_based_runner
    if not isinstance(module.time, types.SimpleNamespace):
        real = module.time
        module.time = types.SimpleNamespace(sleep=lambda _: None, time=real.time)


def hide_gpus_if_asked(argv: List[str]) -> None:
    """With ``--device cpu``, hide the GPUs before CUDA starts.

    Much of mmdet 2.x takes 'cuda' wherever torch sees a GPU, whatever the model's device is.
    """
    words = " ".join(argv).replace("=", " ").split()
    if ("--device", "cpu") in zip(words, words[1:]) and not torch.cuda.is_initialized():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
