"""Stock configs by name: ``mmdet::retinanet/retinanet_r50_fpn_2x_coco.py``.

The wheels of the hosts (:mod:`freekd.tasks`) carry their whole config folder (``.mim/configs``),
and with it the official checkpoints' addresses. A config here names a stock model; it never copies
one. The notation is that of the OpenMMLab projects that came after.
"""

import os
import re
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple

from mmcv import ConfigDict

from freekd import tasks
from freekd.zoo.config_file import read_config
from freekd.zoo.merge import merged, without_delete

_REFERENCE = re.compile(r"^(\w+)::(.+)$")


class StockConfigError(ValueError):
    """A reference to a config that is not there; the message has the nearest names."""


def is_stock(reference: Any) -> bool:
    """Whether ``reference`` has the form ``package::path``.

    >>> is_stock("mmdet::retinanet/retinanet_r50_fpn_2x_coco.py"), is_stock("configs/a.py")
    (True, False)
    """
    return isinstance(reference, str) and _REFERENCE.match(reference) is not None


def stock_root(package: str) -> Path:
    """The config folder of an installed package.

    Raises:
        StockConfigError: the package is unknown, not installed, or has no configs.
    """
    task = tasks.of_package(package)
    if task is None:
        known = [task.package for task in tasks.every()]
        raise StockConfigError(
            f"{package!r}:: is no package with stock configs; expected one of {known}"
        )
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise StockConfigError(f"{package} is not installed; run: bash tools/setup_env.sh")
    where = Path(spec.submodule_search_locations[0])
    for root in (where / ".mim" / "configs", where.parent / "configs"):  # wheel, source tree
        if root.is_dir():
            return root
    raise StockConfigError(
        f"{package} is installed in {where} without its configs (.mim/configs). Install the wheel "
        f"of {task.wheel}, or name the config by its path."
    )


def stock_path(reference: str) -> str:
    """The file that ``package::path`` names; for ``_base_`` too.

    Raises:
        StockConfigError: no such package or file; the nearest names are given.
    """
    match = _REFERENCE.match(reference)
    if match is None:
        raise StockConfigError(
            f"{reference!r}: expected package::path, such as mmdet::retinanet/..._coco.py"
        )
    package, inner = match.groups()
    root = stock_root(package)
    path = root / inner
    if path.is_file():
        return str(path)
    names = [str(p.relative_to(root)) for p in root.glob("*/**/*.py")]
    near = get_close_matches(inner, names, n=3, cutoff=0.5)
    raise StockConfigError(
        f"{reference!r}: {package} has no such config in {root}; nearest: "
        + (", ".join(f"{package}::{name}" for name in near) or "none")
    )


def find_config(reference: str, key: str) -> str:
    """The file of a stock reference or a path.

    A relative path is looked for from the working directory, then from the repository's root.

    Raises:
        StockConfigError, FileNotFoundError: names the config ``key``.
    """
    if is_stock(reference):
        try:
            return stock_path(reference)
        except StockConfigError as error:
            raise StockConfigError(f"{key}={error}") from error
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for candidate in (reference, os.path.join(root, reference)):
        if os.path.isfile(candidate):
            return candidate
    places = " or from ".join(dict.fromkeys([os.getcwd(), root]))
    raise FileNotFoundError(
        f"{key}={reference!r}: no such config file from {places}; a stock config is named "
        f"{_forms()}"
    )


def read_model(reference: Any, key: str) -> ConfigDict:
    """The model config that ``reference`` stands for.

    Args:
        reference: a path or ``package::path`` of a config that has a ``model``; or a dict with the
            key ``config`` (such a reference) and what to change in that model, merged as mmcv
            merges a child config (``_delete_=True`` replaces a part; ``{0: dict(...)}`` changes an
            entry of a list, see :mod:`freekd.zoo.merge`); or a model dict. ``train_cfg`` and
            ``test_cfg`` at the top level of a config, the old style, come into the model.
        key: the config key, for errors.

    Raises:
        StockConfigError, FileNotFoundError, ValueError: names the config ``key``.
    """
    return _read_model(reference, key, ())


def _read_model(reference: Any, key: str, chain: Tuple[str, ...]) -> ConfigDict:
    """As :func:`read_model`; ``chain`` has the files that led here."""
    if isinstance(reference, str):
        path = os.path.abspath(find_config(reference, key))
        if path in chain:
            raise ValueError(f"{key}={reference!r}: the model of that config leads back to itself")
        cfg = read_config(path)
        if cfg.get("model") is None:
            raise ValueError(f"{key}={reference!r}: that config has no 'model'; keys: {list(cfg)}")
        model = _read_model(cfg.model, f"{key}={reference!r}: model", (*chain, path))
        return _with_outer(model, cfg, f"{key}={reference!r}")
    if not isinstance(reference, Mapping):
        raise ValueError(
            f"{key}: expected a config path, a stock config ({_forms()}), or a model dict, got "
            f"{reference!r}"
        )
    if "config" not in reference:
        return _with_scope(ConfigDict(reference))
    changes = {name: value for name, value in reference.items() if name != "config"}
    base = _read_model(reference["config"], f"{key}.config", chain)
    return _with_scope(without_delete(merged(base, changes, key, f"{reference['config']!r}")))


def _with_outer(model: ConfigDict, cfg: Any, key: str) -> ConfigDict:
    """The old style: ``train_cfg`` and ``test_cfg`` beside the model."""
    for name in ("train_cfg", "test_cfg"):
        outer, inner = cfg.get(name), model.get(name)
        if outer is None or outer == inner:
            continue
        if inner is not None:
            raise ValueError(
                f"{key}: that config gives {name} and model.{name}, and they differ: {outer} and "
                f"{inner}. Remove one of the two"
            )
        model = ConfigDict(model)
        model[name] = outer
    return model


def _forms() -> str:
    return ", ".join(f"{task.package}::path" for task in tasks.every())


def _with_scope(cfg: ConfigDict) -> ConfigDict:
    """``RetinaNet`` as ``mmdet.RetinaNet``: MMRazor looks from above the hosts' registries."""
    name = cfg.get("type")
    if isinstance(name, str) and "." not in name:
        hosts = (task for task in tasks.every() if task.installed())
        scopes = [task.package for task in hosts if task.knows(name)]
        if len(scopes) == 1:
            cfg = ConfigDict(cfg, type=f"{scopes[0]}.{name}")
    return cfg


def official_checkpoint(reference: str) -> Optional[str]:
    """The address of a stock config's official weights, None if its package lists none.

    Read from the ``metafile.yml`` beside the config (mmseg: one per method).
    """
    path = Path(stock_path(reference))
    name = path.stem
    entries: List[Any] = []
    for meta in sorted(path.parent.glob("*.yml")):
        text = meta.read_text(encoding="utf-8")
        block = re.search(
            rf"^ *- *Name: *{re.escape(name)} *$(.*?)(?=^ *- *Name:|\Z)", text, re.M | re.S
        )
        if block:
            entries += re.findall(r"^ *Weights: *(\S+)", block.group(1), re.M)
    return entries[0] if entries else None


def stock(reference: str, *keys: str) -> List[Any]:
    """Parts of a stock config, for ours to take over: ``data, = stock(..., "data")``.

    Raises:
        StockConfigError: no such config, or it lacks a key.
    """
    cfg = read_config(stock_path(reference))
    lacking = [key for key in keys if key not in cfg]
    if lacking:
        raise StockConfigError(f"{reference!r} has no {lacking}; it has {list(cfg)}")
    return [cfg[key] for key in keys]
