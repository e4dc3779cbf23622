"""The weights alone, out of a checkpoint that holds other Python objects too.

For files that freekd refuses to read because they hold such objects, as some of mmengine's. Reading
them can run code from the file: do it with files of a source that you trust. This file needs torch,
and whatever package the objects are of; it does not need freekd, so copy it to where that package
is.

python keep_weights.py CKPT --out-path OUT
"""

import argparse
import sys
from typing import Any

import torch


def plain(value: Any) -> Any:
    """Numbers, text, tensors, and dicts and lists of such; all else is left out (None)."""
    if value is None or isinstance(value, (bool, int, float, str)) or torch.is_tensor(value):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return plain(value.tolist()) if hasattr(value, "tolist") else None  # numpy's


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="a file of a source that you trust")
    parser.add_argument("--out-path", required=True, help="the file to write")
    args = parser.parse_args()
    content = torch.load(args.checkpoint, map_location="cpu", weights_only=False)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    weights = {n: v for n, v in state.items() if torch.is_tensor(v)} if state else {}
    if not weights:
        print(f"error: {args.checkpoint} holds no weights. Give a checkpoint.", file=sys.stderr)
        return 1
    torch.save(dict(meta=plain(content.get("meta", {})), state_dict=weights), args.out_path)
    print(f"{args.out_path}: {len(weights)} tensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
