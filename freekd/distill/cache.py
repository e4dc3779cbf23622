"""``cache_embeddings``: what a frozen teacher gives for an image, computed once and kept on disk.

A folder holds ``manifest.json``, which says of what the embeddings are, and a file for each image,
in half precision. Every value that the student sees has gone through that precision, whether it was
read or just computed, and the teacher runs on one image at a time: so a run does not depend on what
was there before. Files are written under a temporary name and renamed, so several processes, and
several runs, may share a folder, and may be interrupted.
"""

import contextlib
import hashlib
import json
import logging
import os
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union

import numpy as np
import torch
from mmcv.utils import print_log
from torch import Tensor

from freekd.fileio import atomic_write_text

KEY = "pair.cache_embeddings"
MANIFEST = "manifest.json"
VERSION = 1
DTYPES = dict(float16=torch.float16, bfloat16=torch.bfloat16)

# Steps of a pipeline that give an image the same pixels each time.
_OF_IMAGE = ("LoadImageFromFile", "Resize", "Normalize", "Pad")
_OF_OTHERS = (
    "LoadAnnotations", "LoadSamMasks", "SamplePrompts", "ImageToTensor", "ToDataContainer",
    "DefaultFormatBundle", "Collect",
)  # fmt: skip


class Options(NamedTuple):
    """What the config says: the folder, and ``float16`` or ``bfloat16``."""

    folder: str
    dtype: str = "float16"


def read_options(value: Union[None, str, Mapping[str, Any]], key: str = KEY) -> Optional[Options]:
    """The options of a config: None, a folder, or ``dict(folder=..., dtype=...)``.

    Raises:
        ValueError: anything else; names the key.
    """
    if value is None:
        return None
    said = dict(folder=value) if isinstance(value, str) else value
    fits = isinstance(said, Mapping) and set(said) <= set(Options._fields)
    if not fits or not isinstance(said.get("folder"), str) or not said["folder"].strip():
        raise ValueError(
            f"{key}: expected a folder, or dict(folder=..., dtype='float16'), got {value!r}. "
            "Correct it, or remove the key"
        )
    found = Options(**said)
    if found.dtype not in DTYPES:
        raise ValueError(
            f"{key}.dtype: expected one of {', '.join(DTYPES)}, got {found.dtype!r}. Correct it"
        )
    return found


class EmbeddingCache:
    """A folder of embeddings.

    Args:
        options: see :func:`read_options`.

    Attributes:
        ready: whether :meth:`prepare` has said of what the embeddings are; before, nothing is read
            or written.
        read, written: how many embeddings of this process were found, and computed.
    """

    def __init__(self, options: Options) -> None:
        self.folder, self.dtype = Path(options.folder), options.dtype
        self.ready = False
        self.read = self.written = 0

    def prepare(self, teacher: Mapping[str, Any], dataset: Any) -> None:
        """Write the manifest, or compare with the one that is there.

        Args:
            teacher: what is said of it: its fingerprint, the tapped module, its precision.
            dataset: of the training; nothing random may happen to its images.

        Raises:
            ValueError: an augmentation, or a folder of another teacher, other images or another
                pipeline; names what differs.
        """
        said = self._said(teacher, dataset)
        path = self.folder / MANIFEST
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            there = [name for name in os.listdir(self.folder) if not name.startswith(".")]
            if there and not path.is_file():  # another process may just have begun it
                raise ValueError(
                    f"{KEY}={str(self.folder)!r}: expected an empty folder or one with {MANIFEST}, "
                    f"found {sorted(there)[0]} and no manifest. Give another folder"
                )
            atomic_write_text(path, json.dumps(said, indent=1) + "\n")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{KEY}={str(self.folder)!r}: {MANIFEST} cannot be read ({error}). Give another "
                "folder, or remove this one"
            ) from error
        for name, value in said.items():
            came = found.get(name) if isinstance(found, dict) else None
            if came != value:
                raise ValueError(
                    f"{KEY}={str(self.folder)!r}: its embeddings are of another {name}: expected "
                    f"{value}, the folder has {came}. Give another folder, or remove this one"
                )
        self.ready = True
        print_log(f"{KEY}: embeddings of the teacher in {self.folder}, {self.dtype}", "root")

    def _said(self, teacher: Mapping[str, Any], dataset: Any) -> Dict[str, Any]:
        digest, count = hashlib.sha256(), 0
        for name in _names(dataset):
            digest.update(name.encode() + b"\0")
            count += 1
        images = dict(count=count, sha256=digest.hexdigest()[:16])
        said = dict(version=VERSION, dtype=self.dtype, teacher=dict(teacher), images=images)
        said["pipeline"] = fixed_steps(dataset)
        return json.loads(json.dumps(said))  # type: ignore[no-any-return]

    # ----------------------------------------------------------------- one embedding
    def _path(self, name: str) -> Path:
        mark = hashlib.sha256(name.encode()).hexdigest()[:32]
        return self.folder / mark[:2] / f"{mark}.embedding"

    def load(self, meta: Mapping[str, Any], device: torch.device) -> Optional[Tensor]:
        """The embedding of an image, float32; None where it is not there, or is damaged."""
        name = name_of(meta)
        path = self._path(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        head, _, body = content.partition(b"\n")
        try:
            said = json.loads(head)
            fits = said["name"] == name and said["bytes"] == _size(meta)
            fits = fits and said["crc32"] == zlib.crc32(body)
            values = np.frombuffer(body, dtype=np.int16).reshape(said["shape"])
        except (ValueError, KeyError, TypeError):
            fits = False
        if not fits:
            print_log(
                f"{path}: damaged, or of another file than {name} is now; made again",
                "root", logging.WARNING,
            )  # fmt: skip
            return None
        self.read += 1
        kept = torch.from_numpy(values.copy()).view(DTYPES[self.dtype])
        return kept.to(device).float()

    def keep(self, meta: Mapping[str, Any], embedding: Tensor) -> Tensor:
        """Write an image's embedding; returns it as it will be read.

        Raises:
            ValueError: it does not fit the precision.
        """
        kept = embedding.detach().to(DTYPES[self.dtype]).cpu().contiguous()
        if not bool(torch.isfinite(kept).all()):
            raise ValueError(
                f"{KEY}: an embedding of {name_of(meta)} has values that {self.dtype} cannot hold "
                f"(up to {float(embedding.abs().max()):.3g}). Set {KEY}=dict(folder="
                f"{str(self.folder)!r}, dtype='bfloat16')"
            )
        body = kept.view(torch.int16).numpy().tobytes()
        said = dict(
            name=name_of(meta), bytes=_size(meta), shape=list(kept.shape), crc32=zlib.crc32(body)
        )
        path = self._path(name_of(meta))
        path.parent.mkdir(exist_ok=True)
        temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:  # without fsync, which takes longer than a small teacher: what is torn has another sum
            temp.write_bytes(json.dumps(said).encode() + b"\n" + body)
            os.replace(temp, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink()
            raise
        self.written += 1
        return kept.to(embedding.device).float()


def name_of(meta: Mapping[str, Any]) -> str:
    """How the cache calls an image: its path in the data set's folder."""
    return str(meta.get("ori_filename") or meta["filename"])


def _size(meta: Mapping[str, Any]) -> Optional[int]:
    """Bytes of the image's file: one that was replaced is most likely of another size."""
    try:
        return os.path.getsize(meta["filename"])
    except OSError:  # of another store than the disk
        return None


# --------------------------------------------------------------------------- the data
def _levels(dataset: Any) -> Iterator[Any]:
    """A data set and those that it wraps."""
    yield dataset
    for part in getattr(dataset, "datasets", ()):
        yield from _levels(part)
    if hasattr(dataset, "dataset"):
        yield from _levels(dataset.dataset)


def _names(dataset: Any) -> Iterator[str]:
    for level in _levels(dataset):
        for info in getattr(level, "data_infos", ()):
            yield str(info.get("filename") or info)


def fixed_steps(dataset: Any) -> List[List[str]]:
    """What makes the images of a data set, step by step, in words.

    Raises:
        ValueError: a step may change an image from one time to the next; names it.
    """
    found = []
    for level in _levels(dataset):
        steps = getattr(level, "pipeline", None)
        if steps is None:
            continue
        words = []
        for step in getattr(steps, "transforms", steps):
            kind = type(step).__name__
            if kind in _OF_IMAGE and not _varies(step):
                words.append(f"{kind}({', '.join(f'{k}={v}' for k, v in _plain(step))})")
            elif kind not in _OF_OTHERS:
                raise ValueError(
                    f"data.train.pipeline: {kind} may change an image from one time to the next, "
                    f"and {KEY} keeps one embedding of each. Expected only "
                    f"{', '.join((*_OF_IMAGE, *_OF_OTHERS))}, and Resize to one size. Remove the "
                    f"step, or set {KEY}=None"
                )
        found.append(words)
    return found


def _varies(step: Any) -> bool:
    """Whether a Resize draws the size, or a Pad the value."""
    scales = getattr(step, "img_scale", None)
    many = isinstance(scales, (list, tuple)) and len(scales) > 1 and not isinstance(scales[0], int)
    return many or getattr(step, "ratio_range", None) is not None


def _plain(step: Any) -> Iterator[Tuple[str, Any]]:
    for name, value in sorted(vars(step).items()):
        value = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(value, (int, float, str, bool, list, tuple, dict, type(None))):
            yield name, value
