"""What a config comes to: ``_base_`` merged, ``pair`` or ``prompt`` spelled out."""

import difflib
from typing import Any, List, Optional

from freekd import cli, compat
from freekd.config.errors import ConfigError


def resolved(cfg: Any) -> Any:
    """``cfg`` with every reference to a model's config replaced by the model itself.

    Raises:
        ConfigError: one of them cannot be read.
    """
    from freekd.config.explain import building
    from freekd.zoo.stock import read_model

    places = [(cfg, "model", "model")]
    algorithm = cfg.get("algorithm")
    if algorithm is not None:
        with building("algorithm"):
            architecture = algorithm.get("architecture") or {}
            places = [(architecture, "model", "algorithm.architecture.model")]
            if algorithm.get("distiller"):
                places.append((algorithm.distiller, "teacher", "algorithm.distiller.teacher"))
    for holder, name, key in places:
        with building(key):
            if holder.get(name) is not None:
                holder[name] = read_model(holder[name], key)
    return cfg


def select(cfg: Any, key: str) -> Any:
    """The part of ``cfg`` at a dotted key; numbers go into lists.

    Raises:
        ConfigError: no such key; names the nearest.
    """
    node = cfg
    for i, name in enumerate(key.split(".")):
        if isinstance(node, (list, tuple)) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
            continue
        names = {str(key): key for key in node} if hasattr(node, "keys") else {}
        if name not in names:
            where = ".".join(key.split(".")[:i]) or "the config"
            near = difflib.get_close_matches(name, list(names), n=3) or list(names)
            raise ConfigError(f"--key {key}: {where} has no {name!r}; nearest: {near}.")
        node = node[names[name]]
    return node


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/print_config.py``; returns the exit code."""
    compat.apply()
    from mmcv import Config

    from freekd.config import load
    from freekd.engine import friendly

    args = cli.print_config(argv)
    with friendly.friendly_errors() as outcome:
        cfg = load.load_config(args.config, cli.cfg_options(args))
        if not args.short:
            cfg = resolved(cfg)
        part = cfg if args.key is None else select(cfg, args.key)
        if hasattr(part, "pretty_text"):
            print(part.pretty_text)
        else:
            name = args.key.split(".")[-1]
            name = f"item_{name}" if name.isdigit() else name
            print(Config({name: part}).pretty_text)
    return outcome.code
