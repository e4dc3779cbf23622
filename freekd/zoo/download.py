"""Checkpoints by address: fetched once into torch's own cache, checked, and shared by processes."""

import re
from pathlib import Path
from typing import Any, Iterator, List, Optional, Tuple
from urllib.parse import unquote, urlparse

import torch
from mmcv.runner import get_dist_info

_HASH = re.compile(r"-([0-9a-f]{8,})\.pth$")  # OpenMMLab's names end in the file's sha256 ...
# ... or in a date, with or without a time of day
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(\d{4}|\d{6})?")


def hash_in_name(name: str) -> Optional[str]:
    """The start of the sha256 that a file's name ends in, None where it ends in a date or neither.

    >>> hash_in_name("retinanet_r50_fpn_1x_coco_20200130-c2398f9e.pth")
    'c2398f9e'
    >>> hash_in_name("retinanet-20200130.pth"), hash_in_name("retinanet_20200130_002941.pth")
    (None, None)
    """
    found = _HASH.search(name)
    return None if found is None or _DATE.fullmatch(found.group(1)) else found.group(1)


class DownloadError(RuntimeError):
    """A checkpoint that could not be fetched; the message says where to put it by hand."""


def is_url(checkpoint: str) -> bool:
    """Whether ``checkpoint`` is an address and not a path.

    >>> is_url("https://example.org/a.pth"), is_url("work_dirs/a.pth")
    (True, False)
    """
    return checkpoint.startswith(("https://", "http://"))


def cache_folder() -> Path:
    """Where torch (and mmcv) keep downloaded checkpoints; ``TORCH_HOME`` moves it."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def local_checkpoint(checkpoint: str, key: str) -> str:
    """The local file of a checkpoint: a path as it is, an address after fetching it once.

    In several processes rank 0 of all fetches and the others wait, so the cache folder must be
    shared between machines, as in mmcv.

    Args:
        checkpoint: a path, or an ``https://`` address.
        key: the config key, for errors.

    Raises:
        DownloadError: no network, or the content does not have the hash in the file's name; says
            how to go on without a network.
    """
    if not is_url(checkpoint):
        return checkpoint
    rank, world_size = get_dist_info()
    problems = [_fetch(checkpoint) if rank == 0 else None]
    if world_size > 1:  # every rank takes part, whether it has the file or not
        torch.distributed.broadcast_object_list(problems, src=0)
        if problems[0] is None:  # a machine whose cache is its own may lack what rank 0 has
            problems = [None] * world_size
            missing = None if _cached(checkpoint) else f"process {rank} does not see the file"
            torch.distributed.all_gather_object(problems, missing)
    found = next((problem for problem in problems if problem is not None), None)
    if found is not None:
        place = cache_folder() / _names(checkpoint)[0]
        raise DownloadError(
            f"{key}={checkpoint!r} could not be downloaded: {found}. On a machine without "
            f"network, fetch that file elsewhere and put it at {place}, or give its own "
            f"place: --cfg-options {key}=/path/to/{_names(checkpoint)[-1]}"
        )
    return str(_cached(checkpoint))


def _names(url: str) -> Tuple[str, str]:
    """The file's name as in the address (so torch and mmcv keep it), and unquoted."""
    quoted = Path(urlparse(url).path).name
    return quoted, unquote(quoted)


def _cached(url: str) -> Optional[Path]:
    places = [cache_folder() / name for name in _names(url)]
    return next((place for place in places if place.is_file()), None)


def _fetch(url: str) -> Optional[str]:
    """Download ``url`` unless it is there (torch moves the complete file); what went wrong."""
    if _cached(url) is not None:
        return None
    target = cache_folder() / _names(url)[0]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(target), hash_prefix=hash_in_name(target.name), progress=True
        )
    except (OSError, RuntimeError, ValueError) as error:  # URLError is an OSError
        return f"{type(error).__name__}: {error}"
    return None


def where_to_put(cfg: Any) -> List[str]:
    """For every pretrained checkpoint that a config names: its address and its local place.

    Args:
        cfg: a model or algorithm config; references to other configs are followed.
    """
    lines = []
    for name in dict.fromkeys(_pretrained(dict(model=cfg))):
        url = _address(name)
        place = cache_folder() / Path(urlparse(url).path).name
        if is_url(url) and not place.is_file():
            lines.append(f"{url} -> {place}")
    return lines


def _pretrained(node: Any) -> Iterator[str]:
    from freekd.zoo.stock import read_model

    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _pretrained(item)
    if not hasattr(node, "items"):
        return
    for key, value in node.items():
        if key == "teacher" and node.get("teacher_checkpoint") is not None:
            continue  # its own checkpoint replaces all
        if key in ("model", "teacher") and isinstance(value, str):
            yield from _pretrained(read_model(value, key))
        elif key == "config" and isinstance(value, str):
            changes = {name: item for name, item in node.items() if name != "config"}
            if "init_cfg" not in (changes.get("backbone") or {}):
                yield from _pretrained(read_model(value, key))
        elif key in ("pretrained", "checkpoint") and isinstance(value, str):
            yield value
        else:
            yield from _pretrained(value)


def _address(name: str) -> str:
    """The address behind mmcv's short names ``torchvision://`` and ``open-mmlab://``."""
    from mmcv.runner import checkpoint as mmcv_checkpoint

    scheme, _, short = name.partition("://")
    if scheme == "torchvision":
        return str(mmcv_checkpoint.get_torchvision_models().get(short, name))
    if scheme in ("open-mmlab", "openmmlab"):
        return str(mmcv_checkpoint.get_external_models().get(short, name))
    return name
