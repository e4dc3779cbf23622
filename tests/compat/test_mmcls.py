"""The work-around for mmcls. Fault: results are gathered by a tensor on 'cuda', on any machine."""

import inspect
import types

import pytest
import torch

from freekd import compat

compat.apply()

from freekd import tasks
from freekd.compat.mmcls import collect_results_on_cpu


@pytest.fixture
def apis():
    return tasks.get("cls").host("apis")


def test_the_fault_is_there(apis):
    original = inspect.unwrap(apis.test.collect_results_cpu)
    assert "device='cuda'" in inspect.getsource(original)


def test_it_is_applied_once(apis):
    before = apis.test.collect_results_cpu
    assert before.on_cpu
    collect_results_on_cpu(apis)
    assert tasks.get("cls").host("apis").test.collect_results_cpu is before


def test_a_folders_name_is_shared_where_there_is_no_gpu(apis, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", lambda x, src: None)
    fake = types.ModuleType("fake")
    fake.test = types.ModuleType("fake.test")
    fake.test.collect_results_cpu = lambda part, size, tmpdir: seen.append((part, size, tmpdir))
    monkeypatch.setitem(__import__("sys").modules, "fake.test", fake.test)
    collect_results_on_cpu(fake)
    fake.test.collect_results_cpu([1], 1)
    fake.test.collect_results_cpu([1], 1, str(tmp_path))
    assert seen[0][:2] == ([1], 1) and "freekd_test_" in seen[0][2]
    assert seen[1] == ([1], 1, str(tmp_path))
