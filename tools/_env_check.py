"""What tools/setup_env.sh asks of the environment it makes; run with that environment's Python.

_env_check.py gpu NVCC ARCHS   torch, the driver and this nvcc agree (before compiling for an hour)
_env_check.py ops DEVICE...    everything imports, and a compiled op gives the right answer
"""

import sys

CPU_OPS = "or go on without the GPU ops: FREEKD_CPU_OPS=1 bash tools/setup_env.sh"


def gpu(nvcc: str, archs: str) -> None:
    import torch

    cuda = torch.version.cuda
    print(f"torch {torch.__version__} of CUDA {cuda}, nvcc {nvcc}, compute capability {archs}")
    if cuda is None:
        sys.exit(
            "torch is a CPU build: pip took it from an index of yours. "
            f"Use one with CUDA, {CPU_OPS}"
        )
    if cuda.split(".")[0] != nvcc.split(".")[0]:
        sys.exit(f"torch is of CUDA {cuda}, nvcc of {nvcc}: install that toolkit, {CPU_OPS}")
    if not torch.cuda.is_available():
        sys.exit(
            "torch cannot use the GPU. Most often the driver is older than "
            f"CUDA {cuda} needs: update it, {CPU_OPS}"
        )


def ops(*devices: str) -> None:
    import mmcv.ops
    import mmdet
    import mmseg
    import numpy
    import torch
    import torchvision

    boxes, scores = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4.1]]), torch.tensor([0.5, 0.9])
    for device in devices:
        kept = mmcv.ops.nms(boxes.to(device), scores.to(device), 0.5)[1].tolist()
        assert kept == [1], f"mmcv.ops.nms on {device} kept {kept}, not [1]"

    import freekd.compat

    freekd.compat.apply()
    import mmrazor  # asserts an old mmcv where freekd.compat has not been applied

    for package in (torch, torchvision, numpy, mmcv, mmdet, mmseg, mmrazor):
        print(package.__name__, package.__version__)
    print("mmcv.ops ran on", ", ".join(devices))


if __name__ == "__main__":
    {"gpu": gpu, "ops": ops}[sys.argv[1]](*sys.argv[2:])
