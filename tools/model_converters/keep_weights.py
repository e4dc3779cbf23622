"""The weights alone, out of a checkpoint that holds other Python objects too.

For files that freekd refuses to read because they hold such objects, as some of mmengine's. Reading
them can run code from the file: do it with files of a source that you trust. This file needs torch,
and whatever package the objects are of; it does not need freekd, so copy it to where that package
is.

python keep_weights.py CKPT --out-path OUT
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

_PLAIN = {bool: bool, int: int, float: float, str: str.__str__}  # of subclasses, the value alone


def plain(value: Any) -> Any:
    """Numbers, text, tensors, and dicts and lists of such; all else is left out (None)."""
    if value is None or torch.is_tensor(value):
        return value
    for kind, bare in _PLAIN.items():
        if isinstance(value, kind):  # numpy's float64 is a float, an enumeration's item may be text
            return bare(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return plain(value.tolist()) if hasattr(value, "tolist") else None  # numpy's


def keep(source: str, out: str) -> int:
    """Write the weights of ``source`` to ``out``; how many they are.

    Raises:
        ValueError: there is no such file, it cannot be read here, it holds no weights, or ``out``
            is there already.
    """
    if Path(out).exists():
        raise ValueError(f"{out} exists. Give another --out-path, or remove it")
    if not Path(source).is_file():
        raise ValueError(f"there is no file {source}. Correct the path")
    try:
        content = torch.load(source, map_location="cpu", weights_only=False)
    except ImportError as error:
        raise ValueError(
            f"{source} holds objects of a package that is not installed here ({error}). Run this "
            "where it is"
        ) from error
    except Exception as error:  # a cut or foreign file ends in anything
        raise ValueError(
            f"{source} cannot be read ({type(error).__name__}: {error}). Copy it again, or run "
            "this with the versions of the packages that wrote it"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    state = state if isinstance(state, dict) else {}
    weights = {str(n): v.detach() for n, v in state.items() if torch.is_tensor(v)}
    if not weights:
        raise ValueError(f"{source} holds no weights. Give a checkpoint")
    torch.save(dict(meta=plain(content.get("meta")) or {}, state_dict=weights), out)
    return len(weights)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="a file of a source that you trust")
    parser.add_argument("--out-path", required=True, help="the file to write")
    args = parser.parse_args()
    try:
        count = keep(args.checkpoint, args.out_path)
    except ValueError as error:
        print(f"error: {error}.", file=sys.stderr)
        return 1
    print(f"{args.out_path}: {count} tensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
