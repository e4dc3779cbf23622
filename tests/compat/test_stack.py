"""Each work-around of freekd/compat does what it says, on this stack."""

import importlib
import inspect
import os
import sys
import warnings

import numpy as np
import pytest
import torch

from freekd import compat
from freekd.compat import imports

compat.apply()

import mmcv
from mmcv.parallel import DataContainer, MMDistributedDataParallel
from mmcv.runner import EpochBasedRunner, IterBasedRunner
from mmcv.utils import get_logger


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, img, **kwargs):
        return (self.weight * img.sum(dim=(1, 2, 3)).mean()).sum()

    def train_step(self, data, optimizer):
        loss = self(**data)
        return dict(loss=loss, log_vars=dict(loss=loss.item()), num_samples=len(data["img"]))

    val_step = train_step


def runner(kind, folder, **limits):
    model = Model()
    return kind(
        model,
        optimizer=torch.optim.SGD(model.parameters(), 0.1),
        work_dir=str(folder),
        logger=get_logger("compat_test", log_level="ERROR"),
        meta={},
        **limits,
    )


def test_applied_once_only():
    step = MMDistributedDataParallel.train_step
    compat.apply()
    assert MMDistributedDataParallel.train_step is step


def test_mmrazor_is_imported_and_mmcv_keeps_its_version():
    from mmrazor.models.builder import ALGORITHMS

    assert ALGORITHMS.get("GeneralDistill") is not None
    assert mmcv.__version__ == importlib.import_module("mmcv.version").__version__ != "1.5.0"


def test_numpy_aliases():
    assert np.int is int and np.float is float and np.bool is bool and np.object is object
    from mmdet.datasets import CustomDataset

    dataset = CustomDataset.__new__(CustomDataset)
    dataset.data_infos = [dict(ann=dict(labels=np.array([1.0, 2.0])))]
    assert dataset.get_cat_ids(0) == [1, 2]


def test_spawned_workers_get_the_aliases(monkeypatch):
    monkeypatch.delattr(np, "int")
    monkeypatch.delattr(np, "float")
    compat.apply_in_worker()
    assert np.int is int and np.float is float


def test_pkg_resources_stub(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("pytorch_wavelets")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pkg_resources", None)  # importing it fails now
    imports.stub_pkg_resources()
    stub = sys.modules["pkg_resources"]
    with stub.resource_stream("pytorch_wavelets.dtcwt.data", "near_sym_a.npz") as stream:
        assert "h0o" in np.load(stream)
    from pytorch_wavelets.dtcwt import coeffs

    assert coeffs.resource_stream is stub.resource_stream
    assert len(coeffs.biort("near_sym_a")) == 4


def test_missing_package_is_named():
    with pytest.raises(ImportError, match="freekd needs mmcv-full .*tools/setup_env.sh"):
        imports.require("no_such_module", "mmcv-full")


def test_quiet_imports_restores_the_log_level():
    import logging

    logger = logging.getLogger("torch.utils.cpp_extension")
    before = logger.level
    with warnings.catch_warnings(record=True) as caught, compat.quiet_imports():
        warnings.warn("On January 1, 2023, MMCV will release v2.0.0", stacklevel=1)
        warnings.warn("another", stacklevel=1)
    assert [str(w.message) for w in caught] in ([], ["another"]) and logger.level == before


def test_scatter_takes_device_numbers():
    from mmcv.parallel import _functions

    assert _functions._get_stream(-1) is None
    assert _functions.Scatter.forward([-1], torch.ones(2))[0].tolist() == [1, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_scatter_to_a_gpu():
    from mmcv.parallel import _functions

    moved = _functions.Scatter.forward([0], [torch.ones(2)])
    assert moved[0].is_cuda and moved[0].tolist() == [1, 1]


@pytest.fixture
def group(tmp_path):
    if torch.distributed.is_initialized():
        pytest.skip("a process group exists")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_distributed_steps_and_forward_on_cpu(group):
    model = MMDistributedDataParallel(Model())
    data = dict(img=DataContainer([torch.ones(2, 3, 4, 4)], stack=True))
    for step in (model.train_step, model.val_step):
        assert step(data, None)["loss"].item() == 2 * 48
    model.train_step(data, None)["loss"].backward()
    assert model.module.weight.grad.tolist() == [48, 48]
    with torch.no_grad():
        assert model(**data).item() == 2 * 48


def test_gathering_results_on_cpu_without_a_folder(group):
    import mmcv.engine.test
    import mmdet.apis.test

    for module in (mmdet.apis.test, mmcv.engine.test):
        assert module.collect_results_cpu([1, 2, 3], 2) == [1, 2]


def test_process_group_without_gpus(tmp_path, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("tests the case without GPUs")
    from mmcv.runner import dist_utils

    seen = []
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend, **kw: seen.append((backend, kw))
    )
    monkeypatch.setenv("RANK", "0")
    dist_utils._init_dist_pytorch("nccl", world_size=1)
    monkeypatch.delenv("RANK")
    for name, value in dict(PROCID="3", NTASKS="4", NODELIST="a[1-2]", LOCALID="1").items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho a1\necho a2\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    dist_utils._init_dist_slurm("nccl", port=1234)
    assert seen == [("gloo", dict(world_size=1)), ("gloo", {})]
    assert [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")] == [
        "3", "4", "1", "a1"
    ]  # fmt: skip
    assert os.environ["MASTER_PORT"] == "1234"


def test_seed_helpers_do_not_ask_for_a_gpu(group):
    from mmdet.apis import init_random_seed
    from mmdet.core.utils import sync_random_seed

    expected = "cuda" if torch.cuda.is_available() else "cpu"
    for function in (init_random_seed, sync_random_seed):
        assert inspect.signature(function).parameters["device"].default == expected


def test_iteration_runner_resumes_after_the_iteration_it_did(tmp_path):
    first = runner(IterBasedRunner, tmp_path, max_iters=20)
    first._iter = 9  # as in the hook that saves after the tenth iteration
    first.save_checkpoint(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["iter_10.pth", "latest.pth"]
    second = runner(IterBasedRunner, tmp_path, max_iters=20)
    second.resume(str(tmp_path / "latest.pth"))
    assert second.iter == second.inner_iter == 10
    meta = torch.load(str(tmp_path / "iter_10.pth"), weights_only=True)["meta"]
    assert compat.iterations_done(meta, by_epoch=False) == 10


def test_epoch_runner_counts_right_already(tmp_path):
    first = runner(EpochBasedRunner, tmp_path, max_epochs=2)
    first._iter, first._epoch = 10, 0  # after an epoch of ten iterations
    first.save_checkpoint(str(tmp_path))
    second = runner(EpochBasedRunner, tmp_path, max_epochs=2)
    second.resume(str(tmp_path / "epoch_1.pth"))
    assert (second.iter, second.epoch) == (10, 1)
    meta = torch.load(str(tmp_path / "epoch_1.pth"), weights_only=True)["meta"]
    assert compat.iterations_done(meta, by_epoch=True) == 10


def test_checkpoints_are_written_atomically(tmp_path, monkeypatch):
    saver = runner(EpochBasedRunner, tmp_path, max_epochs=2)
    saver.save_checkpoint(str(tmp_path))
    before = (tmp_path / "epoch_1.pth").read_bytes()
    real = os.replace

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)  # the moment before the new file takes its place
    with torch.no_grad():
        saver.model.weight.fill_(7)
    with pytest.raises(KeyboardInterrupt):
        saver.save_checkpoint(str(tmp_path))
    monkeypatch.setattr(os, "replace", real)
    assert (tmp_path / "epoch_1.pth").read_bytes() == before
    assert os.readlink(tmp_path / "latest.pth") == "epoch_1.pth"
    saver._epoch = 1
    saver.save_checkpoint(str(tmp_path))
    assert os.readlink(tmp_path / "latest.pth") == "epoch_2.pth"
    assert sorted(os.listdir(tmp_path)) == ["epoch_1.pth", "epoch_2.pth", "latest.pth"]
    with pytest.raises(FileExistsError):
        mmcv.symlink("epoch_1.pth", str(tmp_path / "latest.pth"), overwrite=False)


def test_mmcv_reads_checkpoints_by_our_reader(tmp_path):
    from mmcv.runner import checkpoint

    path = tmp_path / "best.pth"
    torch.save(dict(meta=dict(score=np.float64(0.5)), state_dict=dict(weight=torch.zeros(2))), path)
    model = Model()
    assert checkpoint.load_checkpoint(model, str(path))["meta"]["score"] == 0.5
    assert model.weight.tolist() == [0, 0]
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(RuntimeError, match="is truncated"):
        checkpoint.load_checkpoint(model, str(path))
    with pytest.raises(FileNotFoundError, match="holds best.pth"):
        checkpoint.load_checkpoint(model, str(tmp_path / "bset.pth"))
    assert checkpoint.load_url.keywords == dict(weights_only=True)


def test_reppoints_on_cpu():
    from mmdet.core.anchor import MlvlPointGenerator
    from mmdet.models.dense_heads import RepPointsHead

    head = RepPointsHead.__new__(RepPointsHead)
    torch.nn.Module.__init__(head)
    head.prior_generator = MlvlPointGenerator([8, 16], offset=0.0)
    points, flags = head.get_points([(2, 2), (1, 1)], [dict(pad_shape=(16, 16))], "cpu")
    assert [flag.device.type for flag in flags[0]] == ["cpu", "cpu"]
    assert [len(level) for level in points[0]] == [4, 1]
    assert "valid_flags" not in vars(head.prior_generator)


def test_sync_batch_norm_becomes_plain():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.SyncBatchNorm(2))
    synced, seen = model[1], []
    synced.register_forward_hook(lambda *_: seen.append(1))
    assert compat.plain_batch_norm(model) == 1 and model[1] is synced
    assert model(torch.rand(2, 3, 4, 4)).shape == (2, 2, 4, 4)
    assert seen == [1]  # hooks stay: the layer is the same object
    assert compat.plain_batch_norm(Model()) == 0


def test_data_parallel_on_cpu_unpacks_the_data():
    model = compat.cpu_data_parallel(Model())
    data = dict(img=DataContainer([torch.ones(2, 3, 4, 4)], stack=True))
    assert model.train_step(data, None)["loss"].item() == 2 * 48
    assert model.module.weight.device.type == "cpu" and mmcv.parallel.is_module_wrapper(model)


def test_gpus_are_hidden_only_when_asked(monkeypatch):
    if torch.cuda.is_initialized():
        pytest.skip("CUDA has started")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    compat.hide_gpus_if_asked(["config.py", "--device", "cuda", "--seed", "1"])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    compat.hide_gpus_if_asked(["config.py", "--device=cpu"])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_epoch_pause_is_gone():
    import time

    compat.shorten_epoch_pause()
    compat.shorten_epoch_pause()
    from mmcv.runner import epoch_based_runner

    start = time.time()
    epoch_based_runner.time.sleep(2)
    assert time.time() - start < 1 and time.sleep is not epoch_based_runner.time.sleep
