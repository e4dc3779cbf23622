"""``cache_embeddings``: what a frozen teacher gives for an image, computed once and kept on disk.

A folder holds ``manifest.json``, which says of what the embeddings are, and a file for each image,
in half precision. Every value that the student sees has gone through that precision, whether it was
read or just computed, and the teacher runs on one image at a time: so a run does not depend on what
was there before. Files are written under a temporary name and renamed, so several processes, and
several runs on several machines, may share a folder, and may be interrupted. A disk that cannot be
written to ends no training: what was computed is then not kept.
"""

import contextlib
import hashlib
import json
import logging
import os
import uuid
import zlib
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Union

import numpy as np
import torch
from mmcv.utils import print_log
from torch import Tensor

from freekd.checks import FeatureError
from freekd.distill.cache_data import KEY, fixed_steps, names_of
from freekd.fileio import atomic_write_text

MANIFEST = "manifest.json"
VERSION = 1
FLOAT32 = "float32"
DTYPES = dict(float16=torch.float16, bfloat16=torch.bfloat16)


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
        self._refused = False  # whether it was said that nothing can be written

    def prepare(self, teacher: Mapping[str, Any], dataset: Any, write: bool = True) -> None:
        """Write the manifest, or compare with the one that is there.

        Args:
            teacher: what is said of it: its fingerprint, the tapped module, its precision.
            dataset: of the training; nothing random may happen to its images.
            write: False: compare alone, and leave the cache as it is.

        Raises:
            ValueError: an augmentation, a folder of another teacher, other images or another
                pipeline, names what differs; or a folder that cannot be made or read.
        """
        said = self._said(teacher, dataset)
        try:
            self._compare(said, write)
        except OSError as error:
            raise ValueError(
                f"{KEY}={str(self.folder)!r}: expected a folder that can be made, read and written "
                f"to, got {error}. Give another folder"
            ) from error
        if write:
            self.ready = True
            text = f"{KEY}: embeddings of the teacher in {self.folder}, {self.dtype}"
            print_log(text, "root")

    def _compare(self, said: Mapping[str, Any], write: bool) -> None:
        path = self.folder / MANIFEST
        if not path.is_file():
            if not write and not self.folder.exists():
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            there = [name for name in os.listdir(self.folder) if not name.startswith(".")]
            if there and not path.is_file():  # another process may just have begun it
                raise ValueError(
                    f"{KEY}={str(self.folder)!r}: expected an empty folder or one with {MANIFEST}, "
                    f"found {sorted(there)[0]} and no manifest. Give another folder"
                )
            if not write:
                return
            try:
                atomic_write_text(path, json.dumps(said, indent=1) + "\n")
            except OSError:  # another machine's process of the same number may write it, too
                if not path.is_file():
                    raise
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
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

    def _said(self, teacher: Mapping[str, Any], dataset: Any) -> Dict[str, Any]:
        digest, count = hashlib.sha256(), 0
        for name in names_of(dataset):
            digest.update(name.encode() + b"\0")
            count += 1
        images = dict(count=count, sha256=digest.hexdigest()[:16])
        said = dict(version=VERSION, dtype=self.dtype, teacher=dict(teacher), images=images)
        said["pipeline"] = fixed_steps(dataset)
        return json.loads(json.dumps(said))  # type: ignore[no-any-return]

    # ----------------------------------------------------------------- one embedding
    def _path(self, name: str, precision: str) -> Path:
        mark = hashlib.sha256(f"{precision}\0{name}".encode()).hexdigest()[:32]
        return self.folder / mark[:2] / f"{mark}.embedding"

    def load(
        self, meta: Mapping[str, Any], device: torch.device, precision: str = FLOAT32
    ) -> Optional[Tensor]:
        """The embedding of an image, float32; None where it is not there, or is damaged.

        Args:
            meta: of the image; ``filename`` is its file, ``ori_filename`` its name.
            device: of the embedding.
            precision: in which the teacher computes.
        """
        name = name_of(meta)
        path = self._path(name, precision)
        try:
            content = path.read_bytes()
        except OSError:  # most often: no such file yet
            return None
        head, _, body = content.partition(b"\n")
        try:
            said = json.loads(head)
            fits = said["name"] == name and said["image"] == _sum(meta)
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

    def keep(self, meta: Mapping[str, Any], embedding: Tensor, precision: str = FLOAT32) -> Tensor:
        """Write an image's embedding; returns it as it will be read.

        Where it cannot be written, as on a full disk, there is a warning, once.

        Raises:
            FeatureError: it does not fit the half precision.
        """
        kept = embedding.detach().to(DTYPES[self.dtype]).cpu().contiguous()
        if not bool(torch.isfinite(kept).all()):
            raise FeatureError(
                f"{KEY}: an embedding of {name_of(meta)} has values that {self.dtype} cannot hold "
                f"(up to {float(embedding.abs().max()):.3g}). Set {KEY}=dict(folder="
                f"{str(self.folder)!r}, dtype='bfloat16')"
            )
        body = kept.view(torch.int16).numpy().tobytes()
        said = dict(
            name=name_of(meta), image=_sum(meta), shape=list(kept.shape), crc32=zlib.crc32(body)
        )
        try:
            self._write(
                self._path(name_of(meta), precision), json.dumps(said).encode() + b"\n" + body
            )
            self.written += 1
        except OSError as error:
            if not self._refused:
                print_log(
                    f"{KEY}: an embedding cannot be written ({error}); training goes on, and the "
                    "teacher runs for the images that are not kept",
                    "root", logging.WARNING,
                )  # fmt: skip
            self._refused = True
        return kept.to(embedding.device).float()

    def _write(self, path: Path, content: bytes) -> None:
        """Without fsync, which takes longer than a small teacher: what is torn has another sum."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # not by the process's number, which another machine's may have, too
        temp = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            temp.write_bytes(content)
            os.replace(temp, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink()
            raise


def name_of(meta: Mapping[str, Any]) -> str:
    """How the cache calls an image: its path in the data set's folder."""
    return str(meta.get("ori_filename") or meta["filename"])


def _sum(meta: Mapping[str, Any]) -> Optional[int]:
    """A checksum of the image's file, which may have been replaced by another of its name.

    The loader has just read the file, so that this costs no access to the disk.
    """
    try:
        return zlib.crc32(Path(meta["filename"]).read_bytes())
    except OSError:  # of another store than the disk
        return None
