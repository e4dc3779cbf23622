"""What the config text in a log says, without running it.

mmcv writes a config into the first line of a log as Python text. Logs come from other people, so
the text is read as data: assignments of literals and of ``dict(...)``, and nothing else.
"""

import ast
from typing import Any, Dict, List, Optional, Tuple


def read_config_text(text: str) -> Dict[str, Any]:
    """The top keys of a config text whose values are plain data; all else is left out.

    >>> read_config_text("a = dict(b=[1, -2.0], c=None)\\nd = open('x')")
    {'a': {'b': [1, -2.0], 'c': None}}
    """
    found: Dict[str, Any] = {}
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return found
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = _value(node.value)
            except (ValueError, TypeError, RecursionError):
                continue
    return found


def _value(node: ast.AST) -> Any:
    if isinstance(node, ast.Call):
        if not (isinstance(node.func, ast.Name) and node.func.id == "dict") or node.args:
            raise ValueError("not data")
        return {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg}
    if isinstance(node, ast.Dict):
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values) if key}
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        values = [_value(item) for item in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    return ast.literal_eval(node)


def lookup(config: Any, path: str, default: Any = None) -> Any:
    """The value at ``a.b.c``; the default where a step is missing."""
    for step in path.split("."):
        if not isinstance(config, dict) or step not in config:
            return default
        config = config[step]
    return config


# --------------------------------------------------------------------------- the data set
def data_set(config: Dict[str, Any], split: str = "val") -> Optional[str]:
    """Which data a split of a config reads: its type and the last three parts of its path.

    The same data set lies in another folder on another machine, so the folders above do not count.
    None where the config does not say it.

    >>> data_set(dict(data=dict(val=dict(type="CocoDataset", ann_file="/x/coco/anno/val.json"))))
    'CocoDataset coco/anno/val.json'
    """
    names: List[str] = []
    for part in _parts(lookup(config, f"data.{split}")):
        path = _path(part)
        if path is None:
            return None
        names.append(" ".join(filter(None, (str(part.get("type", "")), path))))
    return " + ".join(names) or None


def _parts(entry: Any) -> List[Dict[str, Any]]:
    """The data sets under wrappers and lists."""
    if isinstance(entry, (list, tuple)):
        return [part for one in entry for part in _parts(one)]
    if not isinstance(entry, dict):
        return []
    inner = entry.get("dataset", entry.get("datasets"))
    if inner is not None:
        return _parts(inner)
    files = entry.get("ann_file")
    if isinstance(files, (list, tuple)):
        return [dict(entry, ann_file=one) for one in files]
    return [entry]


def _path(part: Dict[str, Any]) -> Optional[str]:
    keys: Tuple[str, ...] = ("ann_file", "ann_dir", "data_prefix", "img_dir", "img_prefix")
    given = next((part[key] for key in keys if isinstance(part.get(key), str)), None)
    if given is None:
        return None
    root = part.get("data_root")
    if isinstance(root, str) and not given.startswith("/"):
        given = f"{root}/{given}"
    steps = [step for step in given.replace("\\", "/").split("/") if step not in ("", ".")]
    return "/".join(steps[-3:])
