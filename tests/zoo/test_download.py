"""A downloaded checkpoint is checked against the hash in its name, and a date is no hash."""

import functools
import hashlib
import http.server
import threading

import pytest

from freekd import compat

compat.apply()

from freekd.zoo.download import DownloadError, cache_folder, local_checkpoint

CONTENT = b"weights"
HASH = hashlib.sha256(CONTENT).hexdigest()[:8]


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """``fetch(name)``: the local file of a checkpoint of that name on a server of this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "server").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=str(tmp_path / "server"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def get(name):
            (tmp_path / "server" / name).write_bytes(CONTENT)
            address = f"http://127.0.0.1:{server.server_address[1]}/{name}"
            return local_checkpoint(address, "pair.teacher_checkpoint")

        yield get
        server.shutdown()


@pytest.mark.parametrize(
    "name",
    [
        "model_20200131.pth",
        "model-20200131.pth",
        "model-20200131_123456.pth",
        "model-20200131123456.pth",
        "model.pth",
        f"model_20200131-{HASH}.pth",
    ],
)
def test_names_with_dates_and_with_the_right_hash(fetch, name):
    path = fetch(name)
    assert path == str(cache_folder() / name)
    with open(path, "rb") as file:
        assert file.read() == CONTENT


@pytest.mark.parametrize("name", ["model-0123abcd.pth", "model_20200131-20201399.pth"])
def test_another_content_than_the_hash_says_is_refused(fetch, name):
    with pytest.raises(DownloadError, match="pair.teacher_checkpoint.*invalid hash value"):
        fetch(name)
    assert not (cache_folder() / name).exists()
