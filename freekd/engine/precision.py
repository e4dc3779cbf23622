"""Mixed precision: what the config key ``fp16`` asks for, checked, and how a run gets it.

``fp16=dict(loss_scale='dynamic')`` trains in float16, with mmcv's loss scaling;
``fp16=dict(dtype='bfloat16')`` in bfloat16, which needs none. Weights, their updates and every loss
stay float32. See ``docs/mixed_precision.md``.
"""

import difflib
import inspect
import logging
from typing import Any, Dict, Mapping, NamedTuple, Optional, Union

import torch

from freekd import compat
from freekd.config.explain import building
from freekd.config.load import ConfigError

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
_KEYS = ("dtype", "loss_scale")
# The optimizer hook that scales the loss, for each that does not and for itself.
_SCALING = {
    "OptimizerHook": "Fp16OptimizerHook",
    "GradientCumulativeOptimizerHook": "GradientCumulativeFp16OptimizerHook",
}
_SCALING.update({scaling: scaling for scaling in list(_SCALING.values())})
_PLAIN = {scaling: plain for plain, scaling in _SCALING.items() if plain != scaling}


class Precision(NamedTuple):
    """What a run computes its layers in; ``loss_scale`` is None in bfloat16."""

    dtype: torch.dtype
    loss_scale: Union[None, float, str, Dict[str, Any]] = None


def read_precision(cfg: Any, device: str) -> Optional[Precision]:
    """What ``cfg.fp16`` (and ``cfg.optimizer_config``, as in mmseg's configs) asks for.

    Args:
        cfg: The config.
        device: ``cpu`` or ``cuda``.

    Returns:
        None for float32.

    Raises:
        ConfigError: An unknown key or value, a loss scale with bfloat16, or a device that cannot.
    """
    fp16 = cfg.get("fp16")
    hook = cfg.get("optimizer_config") or {}
    if fp16 is None or fp16 is False:
        if hook.get("type") not in _PLAIN:
            return None
        fp16 = {}  # mmseg's way: the hook alone asks for it
    if not isinstance(fp16, Mapping):
        raise ConfigError(
            f"fp16: expected a dict such as dict(loss_scale='dynamic') or dict(dtype='bfloat16'), "
            f"got {fp16!r}. For float32 remove the key."
        )
    for key in map(str, fp16):
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"fp16.{key} is not known; expected {' and '.join(_KEYS)}. Did you mean {near}?"
            )
    name = fp16.get("dtype", "float16")
    if name not in DTYPES:
        raise ConfigError(
            f"fp16.dtype: expected one of {', '.join(map(repr, DTYPES))}, got {name!r}. For "
            "float32 remove the key fp16."
        )
    scale, place = fp16.get("loss_scale"), "fp16.loss_scale"
    if scale is None:
        scale, place = hook.get("loss_scale"), "optimizer_config.loss_scale"
    elif hook.get("loss_scale", scale) != scale:
        raise ConfigError(
            f"fp16.loss_scale={scale!r} and optimizer_config.loss_scale={hook['loss_scale']!r} "
            "contradict each other. Remove the latter."
        )
    _check_device(name, device)
    if name == "float16":
        return Precision(DTYPES[name], _check_loss_scale("dynamic" if scale is None else scale))
    if scale is not None:
        raise ConfigError(
            f"{place}={scale!r} with fp16.dtype='bfloat16': bfloat16 has float32's range and no "
            "loss is scaled. Remove loss_scale, or set dtype='float16'."
        )
    return Precision(DTYPES[name])


def _check_device(name: str, device: str, key: str = "fp16.dtype") -> None:
    fp16 = key.startswith("fp16")
    if name == "bfloat16" and device == "cuda" and not _gpu_has_bfloat16():
        remedy = "fp16=dict(dtype='float16', loss_scale='dynamic')" if fp16 else f"{key}='float16'"
        raise ConfigError(
            f"{key}='bfloat16': expected a GPU that computes in it (Ampere or newer), this is "
            f"a {torch.cuda.get_device_name()}. Set {remedy}."
        )
    if fp16 and name == "float16" and device == "cpu" and not hasattr(torch.amp, "GradScaler"):
        raise ConfigError(
            f"fp16.dtype='float16' on the CPU: expected torch 2.3 or newer, this is "
            f"{torch.__version__}. Set fp16.dtype='bfloat16', or remove the key fp16."
        )


def _gpu_has_bfloat16() -> bool:
    try:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    except TypeError:  # torch < 2.4 does not count emulation
        return bool(torch.cuda.is_bf16_supported())


def _check_loss_scale(scale: Any) -> Union[float, str, Dict[str, Any]]:
    known = sorted(set(inspect.signature(torch.cuda.amp.GradScaler).parameters) - {"enabled"})
    if scale == "dynamic":
        return "dynamic"
    if isinstance(scale, (int, float)) and not isinstance(scale, bool) and scale > 0:
        return float(scale)  # mmcv refuses an int
    if isinstance(scale, Mapping) and set(scale) <= set(known):
        return dict(scale)
    raise ConfigError(
        f"loss_scale: expected 'dynamic', a positive number, or a dict of {', '.join(known)}, got "
        f"{scale!r}. 'dynamic' is right unless you know better."
    )


def prepare(
    model: torch.nn.Module,
    precision: Optional[Precision],
    device: str,
    logger: Optional[logging.Logger] = None,
) -> None:
    """Let ``model``, teacher included, compute in ``precision``; None leaves it in float32.

    A teacher with its own ``teacher_autocast`` keeps that.

    Raises:
        ConfigError: the device cannot compute in the teacher's.
    """
    own = [module for module in model.modules() if getattr(module, "teacher_autocast", None)]
    for distiller in own:
        _check_device(distiller.teacher_autocast, device, "distiller.teacher_autocast")
    if precision is None:
        return
    compat.use_low_precision(precision.dtype, device)
    compat.wrap_low_precision(model)
    for distiller in own:
        compat.unwrap_low_precision(distiller.teacher)
    if logger is not None:
        logger.info("mixed precision: %s, losses in float32", precision.dtype)
        if precision.dtype is torch.float16 and device == "cpu":
            logger.warning("float16 is slow on the CPU: bfloat16 or float32 is faster there")


def optimizer_hook(
    optimizer_config: Optional[Mapping[str, Any]],
    precision: Optional[Precision],
    distributed: bool = False,
) -> Any:
    """mmcv's optimizer hook for ``optimizer_config`` in ``precision``; None for None.

    Raises:
        ConfigError: A hook that does not scale the loss in float16, or keys that it does not know.
    """
    from mmcv.runner import HOOKS

    scaled = precision is not None and precision.loss_scale is not None
    if optimizer_config is None:
        if scaled:
            raise ConfigError(
                "optimizer_config=None with fp16: expected a dict, for float16 needs mmcv's hook "
                "that scales the loss. Remove the key, or set fp16.dtype='bfloat16'."
            )
        return None
    options = dict(optimizer_config)
    kind = options.pop("type", "OptimizerHook")
    if precision is not None:
        if scaled and kind not in _SCALING:
            raise ConfigError(
                f"optimizer_config.type={kind!r} does not scale the loss, which float16 needs; "
                f"expected one of {', '.join(_SCALING)}. Change it, or set fp16.dtype='bfloat16'."
            )
        if kind in _PLAIN:  # what only the scaling hook of old torch versions used
            options = {
                key: value
                for key, value in options.items()
                if key not in ("loss_scale", "distributed", "coalesce", "bucket_size_mb")
            }
        if scaled:
            kind = _SCALING[kind]
            options.update(loss_scale=precision.loss_scale, distributed=distributed)
        else:
            kind = _PLAIN.get(kind, kind)
    with building("optimizer_config"):
        return HOOKS.build(dict(type=kind, **options))
