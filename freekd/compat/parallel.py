"""mmcv's parallel wrappers and process groups on today's torch, and without GPUs."""

import functools
import importlib
import os
import tempfile
from typing import Any, Callable, Dict, List, Optional

import torch


def fix_scatter_stream() -> None:
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


def fix_ddp() -> None:
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


def fix_init_dist() -> None:
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


def fix_seed_device() -> None:
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


def fix_collect_results() -> None:
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
