"""What several command lines have in common. Nothing slow is imported."""

import argparse
from typing import Any, Dict, Optional, Tuple


class CfgOptions(argparse.Action):
    """``key=value`` pairs; their text is read by :func:`cfg_options`, with mmcv's rules.

    The option may come more than once.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: Optional[str] = None,
    ) -> None:
        wrong = [value for value in values if "=" not in value]
        if wrong:
            parser.error(f"{option_string}: expected key=value, got {wrong[0]!r}")
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or ()), *values])


def cfg_options(args: argparse.Namespace) -> Optional[Dict[str, Any]]:
    """The values of ``--cfg-options``, as mmcv's ``DictAction`` reads them."""
    if args.cfg_options is None:
        return None
    from mmcv import DictAction

    found = argparse.Namespace()
    DictAction(["--cfg-options"], "options")(None, found, args.cfg_options)
    options: Dict[str, Any] = found.options
    return options


def config_parser(description: str, config: str = "config file") -> argparse.ArgumentParser:
    """A parser with a config and ``--cfg-options``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config", help=config)
    parser.add_argument(
        "--cfg-options", nargs="+", action=CfgOptions, help="key=value, over the config's"
    )
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``."""
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """``--device`` and ``--launcher``; torch's launcher gives ``--local_rank``."""
    add_device(parser)
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)


def shard(parser: argparse.ArgumentParser, text: str) -> Tuple[int, int]:
    """``2/3`` as (2, 3): the part of one of several machines."""
    parts = text.split("/")
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        number, count = int(parts[0]), int(parts[1])
        if 1 <= number <= count:
            return number, count
    parser.error(f"--shard: expected K/N with K from 1 to N, as 2/3, got {text!r}")
