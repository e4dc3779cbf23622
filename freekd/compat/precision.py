"""The stack's mixed precision on any device and in either dtype (part of :mod:`freekd.compat`).

mmcv 1.x marks what runs low (``auto_fp16``) and what in float32 (``force_fp32``), for float16 on
CUDA alone. Here that machinery is told the device and the dtype, and what it leaves out is added:
heads that do not mark their losses, compiled ops without bfloat16.
"""

import contextlib
import functools
import inspect
import sys
import types
from typing import Any, Callable

import torch

from freekd.held import with_held

# What mmcv's fp16 machinery computes in; mmcv's own choice until use_low_precision is called.
_low = types.SimpleNamespace(device="cuda", dtype=torch.float16)
_LOW_DTYPES = (torch.float16, torch.bfloat16)
_FLOAT32_METHODS = ("loss", "losses", "get_bboxes", "get_seg_masks")


def use_low_precision(dtype: torch.dtype, device: str) -> None:
    """Let mmcv's ``auto_fp16``, ``force_fp32`` and Fp16OptimizerHook compute in ``dtype``.

    mmcv 1.x knows float16 on CUDA alone: elsewhere its autocast does nothing, and the layers end
    in a Half/Float mismatch. Only what its decorators look up by name is replaced.
    mmcv's compiled ops have no bfloat16 kernels: they run in float32 then.
    """
    from mmcv.runner import fp16_utils
    from mmcv.runner.hooks import optimizer

    _low.device, _low.dtype = device, dtype
    fp16_utils.autocast = _autocast
    if not hasattr(fp16_utils.cast_tensor_type, "original"):
        fp16_utils.cast_tensor_type = _low_cast(fp16_utils.cast_tensor_type)
    if hasattr(torch.amp, "GradScaler"):  # torch >= 2.3; before, mmcv's works on CUDA
        optimizer.GradScaler = functools.partial(torch.amp.GradScaler, device)
    if dtype is torch.bfloat16:
        run_ops_in_float32()


def wrap_low_precision(model: torch.nn.Module) -> None:
    """Turn on low precision in ``model``; heads compute losses and boxes in float32.

    mmcv's ``wrap_fp16_model``, and then what it trusts each head to do by ``force_fp32``: some of
    mmdet's and mmseg's heads (RepPointsHead, MaskPointHead, EncHead, ...) do not.
    """
    from mmcv.runner import wrap_fp16_model

    roots = with_held(model)  # a frozen teacher is seen by no other walk
    for root in roots:
        wrap_fp16_model(root)
    for module in (module for root in roots for module in root.modules()):
        kind = type(module)
        for name in _FLOAT32_METHODS:
            method = getattr(kind, name, None)
            if not inspect.isfunction(method):
                continue
            module.fp16_enabled = True  # type: ignore[assignment]
            if not hasattr(method, "in_float32"):
                setattr(kind, name, _in_float32(method))


def unwrap_low_precision(model: torch.nn.Module) -> None:
    """Undo :func:`wrap_low_precision` for ``model``, which runs in a precision of its own."""
    for module in model.modules():
        if hasattr(module, "fp16_enabled"):
            module.fp16_enabled = False  # type: ignore[assignment]


def autocast_of(module: torch.nn.Module, device_type: str) -> Any:
    """A context in which ``module`` computes as its own ``forward`` would.

    For calling a part of a detector, such as ``extract_feat``, which mmcv does not decorate.
    Does nothing unless :func:`wrap_low_precision` saw the module.
    """
    if not getattr(module, "fp16_enabled", False):
        return contextlib.nullcontext()
    return torch.autocast(device_type, dtype=_low.dtype)


def precision_of(module: torch.nn.Module) -> str:
    """What :func:`autocast_of` computes in, as torch calls it: ``float32``, ``bfloat16``, ..."""
    low = getattr(module, "fp16_enabled", False)
    return str(_low.dtype if low else torch.float32).rsplit(".", maxsplit=1)[-1]


def _autocast(enabled: bool = True) -> Any:
    return torch.autocast(_low.device, dtype=_low.dtype, enabled=enabled)


def _low_cast(original: Callable[..., Any]) -> Callable[..., Any]:
    """mmcv's ``cast_tensor_type``, for which torch.half is whatever low precision is in use."""

    @functools.wraps(original)
    def cast(inputs: Any, src_type: torch.dtype, dst_type: torch.dtype) -> Any:
        if not isinstance(inputs, torch.Tensor):
            return original(inputs, src_type, dst_type)  # comes back here for each item
        sources = _LOW_DTYPES if src_type is torch.half else (src_type,)
        wanted = _low.dtype if dst_type is torch.half else dst_type
        return inputs.to(wanted) if inputs.dtype in sources else inputs

    cast.original = original  # type: ignore[attr-defined]
    return cast


def to_float32(value: Any) -> Any:
    """``value`` with the low-precision tensors in it, and in its lists and dicts, in float32."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype in _LOW_DTYPES else value
    if type(value) in (list, tuple):
        return type(value)(to_float32(item) for item in value)
    if type(value) is dict:
        return {key: to_float32(item) for key, item in value.items()}
    return value


def _in_float32(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not getattr(self, "fp16_enabled", False):
            return method(self, *args, **kwargs)
        with _autocast(enabled=False):
            return method(self, *to_float32(args), **to_float32(kwargs))

    wrapper.in_float32 = True  # type: ignore[attr-defined]
    return wrapper


def run_ops_in_float32() -> None:
    """mmcv's compiled ops have no bfloat16 kernels: cast to float32 and back around them.

    Inside each autograd Function, so that it reaches every name that an op was imported by.
    """
    import mmcv.ops  # noqa: F401 (loads every module of it)

    def around(static: Callable[..., Any], cast_back: bool) -> Any:
        @functools.wraps(static)
        def wrapper(ctx: Any, *args: Any, **kwargs: Any) -> Any:
            tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
            if not any(tensor.dtype is torch.bfloat16 for tensor in tensors):
                return static(ctx, *args, **kwargs)
            with torch.autocast(tensors[0].device.type, enabled=False):
                out = static(ctx, *to_float32(args), **kwargs)
            if cast_back and isinstance(out, torch.Tensor) and out.dtype is torch.float32:
                return out.to(torch.bfloat16)
            return out  # of backward: autograd casts gradients to the dtype of what they are for

        wrapper.in_float32 = True  # type: ignore[attr-defined]
        return staticmethod(wrapper)

    for name, module in list(sys.modules.items()):
        if not name.startswith("mmcv.ops."):
            continue
        for kind in vars(module).values():
            own = inspect.isclass(kind) and kind.__module__ == name
            if not own or not issubclass(kind, torch.autograd.Function):
                continue
            if "forward" in vars(kind) and not hasattr(kind.forward, "in_float32"):
                kind.forward = around(kind.forward, cast_back=True)
                if "backward" in vars(kind):
                    kind.backward = around(kind.backward, cast_back=False)
