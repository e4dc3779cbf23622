"""Files: atomic writing, weights-only reading, errors that say what came and what to do."""

import hashlib
import os

import numpy as np
import pytest
import torch

from freekd import fileio as io


def test_save_and_load(tmp_path):
    path = tmp_path / "new folder" / "a.pth"
    io.atomic_save({"weight": torch.arange(3), "text": "x"}, path)
    content = io.load_checkpoint_file(path)
    assert torch.equal(content["weight"], torch.arange(3)) and content["text"] == "x"
    assert os.listdir(path.parent) == ["a.pth"]


def test_numpy_numbers_in_a_checkpoint_are_read(tmp_path):
    path = tmp_path / "best.pth"
    torch.save({"score": np.float64(0.5), "count": np.int64(2), "list": np.arange(3.0)}, path)
    content = io.load_checkpoint_file(path)
    assert content["score"] == 0.5 and content["count"] == 2
    assert content["list"].tolist() == [0, 1, 2]


@pytest.mark.skipif(not hasattr(np, "_core"), reason="numpy has one name for it here")
def test_both_names_of_numpys_core_are_read(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"score": np.float64(0.5)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    old, new = b"numpy.core.multiarray", b"numpy._core.multiarray"
    present = old if old in data else new
    swapped = data.replace(b"c" + present + b"\n", b"c" + (new if present == old else old) + b"\n")
    assert swapped != data
    path.write_bytes(swapped)
    assert io.load_checkpoint_file(path)["score"] == 0.5


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.pth"
    io.atomic_save(1, path)
    with pytest.raises(Exception, match="pickle"):
        io.atomic_save(lambda: None, path)
    assert io.load_checkpoint_file(path) == 1
    with pytest.raises(KeyboardInterrupt), io.atomic_path(path) as temp:
        temp.write_text("half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["a.pth"]


def test_stale_temporary_files_are_removed(tmp_path):
    io.atomic_write_text(tmp_path / "kept.txt", "é")
    (tmp_path / ".epoch_2.pth.123.tmp").write_text("half a checkpoint")
    assert io.remove_stale_temp_files(tmp_path) == [".epoch_2.pth.123.tmp"]
    assert (tmp_path / "kept.txt").read_text(encoding="utf-8") == "é"
    assert os.listdir(tmp_path) == ["kept.txt"]


def test_symlink_is_replaced(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        io.atomic_symlink(name, tmp_path / "latest")
    assert (tmp_path / "latest").read_text() == "b"
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "latest"]


def test_missing_file_names_its_neighbours(tmp_path):
    io.atomic_save(1, tmp_path / "epoch_1.pth")
    with pytest.raises(FileNotFoundError, match="Expected a prompt file at .*epoch_2.pth, found"):
        io.load_checkpoint_file(tmp_path / "epoch_2.pth", what="prompt file")
    with pytest.raises(FileNotFoundError, match="holds epoch_1.pth"):
        io.load_checkpoint_file(tmp_path / "epoch_2.pth")
    with pytest.raises(FileNotFoundError, match="the folder .* does not exist"):
        io.load_checkpoint_file(tmp_path / "no" / "epoch_2.pth")
    with pytest.raises(FileNotFoundError, match="found a folder"):
        io.load_checkpoint_file(tmp_path)


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_a_file_cut_anywhere_is_refused(tmp_path, new_format):
    path = tmp_path / "epoch_1.pth"
    content = {"state_dict": {"w": torch.arange(40.0)}, "meta": {"epoch": 1}}
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    data = path.read_bytes()
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        with pytest.raises(RuntimeError, match="Expected a checkpoint in .*, but the file"):
            io.load_checkpoint_file(path)


class Foreign:
    pass


def _truncated(path):
    torch.save(torch.zeros(1000), path)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    "write,says",
    [
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (_truncated, r"\(2000 bytes\) is truncated"),
        (lambda path: torch.save(Foreign(), path), "Python object .*Foreign, .* weights_only=True"),
        (lambda path: path.write_text("<!DOCTYPE html><p>"), "is a web page"),
        (lambda path: path.write_text("version https://git-lfs.github.com"), "git lfs pull"),
        (lambda path: path.write_bytes(bytes(range(99))), "99 bytes, starting with .* no torch"),
        (lambda path: path.write_text("hello"), "no torch checkpoint"),
    ],
    ids=["empty", "truncated", "object", "page", "lfs", "bytes", "text"],
)
def test_unreadable_files_say_what_came(tmp_path, write, says):
    path = tmp_path / "a.pth"
    write(path)
    with pytest.raises(RuntimeError, match=says) as caught:
        io.load_checkpoint_file(path)
    assert "Copy or make the file again" in str(caught.value)
    assert str(type(caught.value)("one string")) == "one string"  # mmcv's builder does this


def test_digest_of_a_file(tmp_path):
    """Of more than one block, as hashlib has it of the whole."""
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * 5000)
    assert io.file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
