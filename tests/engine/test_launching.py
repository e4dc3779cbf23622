"""The launchers themselves: two processes of both stages, errors, evaluation, ports, slurm."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from freekd import compat

compat.apply()

from freekd.config import load
from freekd.config.errors import ConfigError
from freekd.engine import build, friendly, launch, torchrun
from freekd.engine.train import main

REPO = Path(__file__).resolve().parents[2]


def start(*args, **variables):
    """Start a launcher as a user does; its stderr goes into its stdout."""
    path = f"{Path(__file__).parents[1]}"
    environment = {
        **os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable,
        "PYTHONWARNINGS": "ignore", **variables,
    }  # fmt: skip
    return subprocess.Popen(
        ["bash", *map(str, args)], cwd=str(REPO), env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
    )  # fmt: skip


def bash(*args, **variables):
    """Run a launcher to its end; returns the completed process."""
    with start(*args, **variables) as process:
        stdout, _ = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout)


def processes_with(word):
    """Of the processes that name ``word`` in their command: pid and command."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(word) in line:
            found[int(path.parent.name)] = line
    return found


def assert_all_ended(word, seconds=10):
    end = time.monotonic() + seconds
    while processes_with(word) and time.monotonic() < end:
        time.sleep(0.1)
    assert not processes_with(word)


def wait_for(path, process):
    end = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert path.exists(), process.communicate()[0]


def weights(path):
    return torch.load(str(path), weights_only=True)["state_dict"]


def assert_equal_to_rounding(found, expected):
    """Each gradient against its own size; some are zero but for rounding."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = float((found[name] - value).norm())
        assert error <= 1e-4 * float(value.norm()) + 1e-6, (name, error, float(value.norm()))


def probe(folder):
    return f"custom_hooks = [dict(type='Probe', folder='{folder}')]\n"


# --------------------------------------------------------------------------- two processes
@pytest.mark.parametrize("number", [1, 2])
def test_two_processes_learn_as_one(number, stage, tmp_path, capsys):
    """``dist_train.sh CONFIG 2`` over gloo, against one process with the whole batch."""
    one, two = tmp_path / "one", tmp_path / "two"
    options = ["--seed", "7", "--device", "cpu"]
    done = bash("tools/dist_train.sh", stage(number, "two", probe(two)), 2, "--work-dir", two,
                *options, "--cfg-options", "data.samples_per_gpu=2")  # fmt: skip
    assert done.returncode == 0, done.stdout
    config = stage(number, "one", probe(one))
    assert main([config, *options, "--work-dir", str(one), "--no-validate", "--cfg-options",
                 "data.samples_per_gpu=4"]) == 0  # fmt: skip
    single = torch.load(str(one / "rank0.pth"), weights_only=True)
    ranks = [torch.load(str(two / f"rank{rank}.pth"), weights_only=True) for rank in (0, 1)]

    # the same gradients as one process with the whole batch, of every trainable parameter
    # (in the first iteration the gate's last layer alone has some; a level may be without objects)
    for name in single["trainable"]:
        sizes = [float(step[name].norm()) for step in single["gradients"]]
        assert max(sizes) > 0 or name.endswith("scales.2.scale"), name
    for rank in ranks:
        assert all(torch.equal(rank["start"][k], v) for k, v in single["start"].items())
        for step in range(3):
            assert_equal_to_rounding(rank["gradients"][step], single["gradients"][step])
            assert rank["losses"][step] == pytest.approx(single["losses"][step], rel=1e-4)
    # the same weights on both after training, to the bit; and those that one process learns
    assert all(torch.equal(ranks[0]["end"][k], ranks[1]["end"][k]) for k in single["end"])
    assert any(not torch.equal(single["end"][k], single["start"][k]) for k in single["end"])
    torch.testing.assert_close(ranks[0]["end"], single["end"], rtol=1e-4, atol=1e-6)

    # the run of two is continued by one with the whole batch: the same data, and a warning
    capsys.readouterr()
    args = [config, *options, "--work-dir", str(one), "--no-validate", "--resume-from"]
    assert main([*args, str(two / "iter_2.pth"), "--cfg-options", "data.samples_per_gpu=4"]) == 0
    goes_on = torch.load(str(one / "rank0.pth"), weights_only=True)
    assert len(goes_on["losses"]) == 1
    assert_equal_to_rounding(goes_on["gradients"][0], single["gradients"][2])
    assert "resumed with 1 processes of 4 images (whole batch 4), started with 2 of 2" in (
        capsys.readouterr().err
    )

    # evaluation: each image in one process (7 images in 2 processes: one twice), gathered once
    assert [rank["evaluated"] for rank in ranks] == [[7], []]
    assert sorted(len(set(rank["tested"])) for rank in ranks) == [4, 4]
    assert len({*ranks[0]["tested"], *ranks[1]["tested"]}) == 7
    # files: of process 0 alone; prompts with each of 3 checkpoints (the last come after the probe)
    assert len(list(two.glob("*.log.json"))) == 1
    written = [rank["prompts_written"] for rank in ranks]
    assert written == ([3, 0] if number == 1 else [0, 0])
    assert (two / "prompts.pth").exists() == (number == 1)


@pytest.mark.slow
def test_dist_test_gathers_what_one_process_finds(stage, tmp_path):
    """``dist_test.sh``: 7 images in 2 processes, the same boxes in the dataset's order."""
    from freekd.engine.test import main as test_main

    config = stage(2, "score")
    cfg = load.load_config(config)
    torch.manual_seed(3)
    model = build.build_model(cfg, "det")
    torch.nn.init.constant_(model.architecture.model.bbox_head.conv_cls.bias, 0.0)
    torch.save(dict(meta={}, state_dict=model.state_dict()), str(tmp_path / "model.pth"))
    found = {}
    for name in ("one", "two"):
        args = [config, tmp_path / "model.pth", "--device", "cpu", "--eval", "bbox",
                "--out", tmp_path / f"{name}.pkl", "--json", tmp_path / f"{name}.json"]  # fmt: skip
        if name == "one":
            assert test_main([str(arg) for arg in args]) == 0
        else:
            done = bash("tools/dist_test.sh", *args[:2], 2, *args[2:])
            assert done.returncode == 0, done.stdout
            assert done.stdout.count("bbox_mAP:") == 1
        boxes = pickle.loads((tmp_path / f"{name}.pkl").read_bytes())
        found[name] = [box.tolist() for image in boxes for box in image]
        found[name].append(json.loads((tmp_path / f"{name}.json").read_text())["metrics"])
    assert found["one"] == found["two"]
    assert len(found["one"]) == 7 * 2 + 1 and sum(map(len, found["one"][:-1])) > 50


# --------------------------------------------------------------------------- errors
def test_error_of_one_process_ends_all(stage, tmp_path):
    """Process 1 raises, process 0 waits for it in a collective: one traceback, nobody is left."""
    config = stage(2, "fails", "custom_hooks = [dict(type='Fail', rank=1)]\n")
    start = time.monotonic()
    done = bash(
        "tools/dist_train.sh", config, 2, "--work-dir", tmp_path / "work", "--device", "cpu"
    )
    assert done.returncode == 1
    assert done.stdout.count("Traceback") == 1, done.stdout
    assert done.stdout.count("ZeroDivisionError: made by the test in process 1") == 1
    assert done.stdout.rstrip().splitlines()[-1].startswith("error: process 1 of 2")
    assert time.monotonic() - start < 120
    assert_all_ended(tmp_path / "work")
    assert (tmp_path / "work" / "iter_1.pth").exists()  # to go on from


def test_error_of_all_processes_is_printed_once(monkeypatch, capsys):
    """The first speaks at once; the others wait, and the launcher ends them meanwhile."""
    pauses = []
    monkeypatch.setattr(launch.time, "sleep", pauses.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, expected in (("0", []), ("1", [3.0])):
        monkeypatch.setenv("RANK", rank)
        for error in (ConfigError("no such key"), ZeroDivisionError("one / zero")):
            pauses.clear()
            with friendly.friendly_errors() as outcome:
                raise error
            assert outcome.code == 1 and pauses == expected
            said = capsys.readouterr().err
            assert ("Traceback" in said) == isinstance(error, ZeroDivisionError)
            assert str(error) in said
    # what another's end looks like to a process that waits for it comes last, as one line
    monkeypatch.setenv("RANK", "0")
    pauses.clear()
    capsys.readouterr()
    with friendly.friendly_errors() as outcome:
        raise RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:1")
    assert outcome.code == 1 and pauses == [6.0]
    assert "process 0 lost the connection to another one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("processes", "variables", "words"),
    [
        ("two", {}, ["GPUS: expected a number from 1, got 'two'"]),
        ("0", {}, ["GPUS: expected a number from 1, got '0'"]),
        ("2", {"NNODES": "2"}, ["NODE_RANK: NNODES=2 machines need it", "MASTER_ADDR=<name"]),
        ("2", {"NNODES": "2", "NODE_RANK": "0"}, ["MASTER_ADDR: NNODES=2 machines need it"]),
        ("2", {"NNODES": "2", "NODE_RANK": "2"}, ["NODE_RANK: expected a number from 0 to 1"]),
        ("2", {"PORT": "high"}, ["PORT: expected a number from 1 to 65535, got 'high'"]),
    ],
)
def test_errors_of_the_launcher(processes, variables, words):
    done = bash("tools/dist_train.sh", "config.py", processes, **variables)
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1 and done.stdout.startswith("error: ")
    for word in words:
        assert word in done.stdout


def test_usage():
    for name in ("dist_train", "dist_test", "slurm_train"):
        done = bash(f"tools/{name}.sh", "config.py")
        assert done.returncode == 2 and done.stdout.startswith(f"usage: bash tools/{name}.sh")


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    launch._check_gpus("pytorch")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="3 processes were started and torch sees 2 GPUs"):
        launch._check_gpus("pytorch")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "8")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # each task sees its own
    launch._check_gpus("slurm")


# --------------------------------------------------------------------------- ports
def test_ports():
    group = torchrun.read_group("2", {"PORT": "", "NNODES": ""})
    assert group == torchrun.Group(2) and group.port is None  # found when needed
    assert torchrun.read_group("2", {"MASTER_ADDR": "elsewhere", "PORT": "7"}).port == 7
    assert torchrun.read_group("2", {"MASTER_ADDR": "elsewhere"}).master_addr == "127.0.0.1"
    several = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "node0"}
    assert torchrun.read_group("8", several) == torchrun.Group(8, 2, 1, "node0", 29500)
    assert len({torchrun.free_port() for _ in range(20)}) > 10
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        assert torchrun.is_taken(port)
        done = bash("tools/dist_train.sh", "config.py", 2, PORT=str(port))
    assert not torchrun.is_taken(port)
    assert done.returncode == 2
    assert f"PORT: expected a free port, but {port} is in use" in done.stdout


def test_another_port_is_taken_when_one_was_lost(monkeypatch, capsys):
    """Between choosing a port and using it another run may take it."""
    from torch.distributed import run as torch_run

    ports = []

    def run(args):
        ports.append(args.master_port)
        if len(ports) < 3:
            raise RuntimeError("EADDRINUSE: address already in use")

    monkeypatch.setattr(torch_run, "run", run)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert torchrun.run(torchrun.Group(2), ["script.py"]) == 0
    assert len(set(ports)) == 3


def test_slurm_ports_agree_within_a_step_and_differ_between_jobs():
    ports = [launch.slurm_port({"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})
             for job in range(4_000_000, 4_000_100) for step in range(3)]  # fmt: skip
    assert len(set(ports)) == 300 and all(20000 <= port < 32000 for port in ports)
    assert launch.slurm_port({}) == 20000


# --------------------------------------------------------------------------- nothing left behind
def test_processes_end_with_a_killed_launcher(tmp_path):
    """``kill -9`` of torchrun alone: its processes are in sessions of their own."""
    child = "from freekd.engine import torchrun; torchrun.end_with_launcher(); print('up')\n"
    child += "import sys, time; sys.stdout.flush(); time.sleep(60)"
    parent = (
        "import os, signal, subprocess, sys\n"
        "os.environ['FREEKD_LAUNCHER_PID'] = str(os.getpid())\n"
        f"child = subprocess.Popen([sys.executable, '-c', sys.argv[1], {str(tmp_path)!r}],\n"
        "    start_new_session=True, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", parent, child], cwd=str(REPO), timeout=60, check=False
    )
    assert done.returncode == -9
    assert_all_ended(tmp_path)
    # and one that starts when its launcher is gone already does not start
    with subprocess.Popen(["true"]) as gone:
        pass
    done = subprocess.run(
        [sys.executable, "-c", child], cwd=str(REPO), timeout=60, check=False,
        env={**os.environ, "FREEKD_LAUNCHER_PID": str(gone.pid)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "has ended" in done.stderr and "up" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_ended_by_a_signal(name, stage, tmp_path):
    """As slurm and Ctrl-C do: all end, without tracebacks."""
    config = stage(1, "ended", "custom_hooks = [dict(type='Fail', pause=0.3)]\n")
    work = tmp_path / "work"
    with start("tools/dist_train.sh", config, 2, "--work-dir", work, "--device", "cpu",
               "--no-validate", "--cfg-options", "runner.max_iters=1000") as process:  # fmt: skip
        wait_for(work / "iter_2.pth", process)
        process.send_signal(getattr(signal, name))
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + getattr(signal, name)
    assert said.count(f"{name}: all processes of this run were ended") == 1
    assert "Traceback" not in said, said
    assert said.count("interrupted; --auto-resume") == (name == "SIGINT")
    assert_all_ended(work)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_two_processes_killed_and_resumed(number, stage, tmp_path):
    """kill -9 of one process, of the launcher, of all: resumed, the weights of no interruption."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ["--seed", "7", "--device", "cpu", "--no-validate", "--cfg-options"]
    options += ["runner.max_iters=8", "optimizer.lr=0.001", "optimizer.momentum=0.9"]

    def train(work, name, hook):
        config = stage(number, name, f"custom_hooks = [dict({hook})]\n", norm="BN")
        command = ["tools/dist_train.sh", config, 2, "--work-dir", work, "--auto-resume", *options]
        return start(*command)

    with train(whole, "whole", f"type='Probe', folder='{whole}'") as process:
        said = process.communicate()[0]
    assert process.returncode == 0, said
    # one process: the launcher notices, says so, and ends the other
    with train(parts, "one_dies", "type='Fail', rank=1, at=1, how='kill'") as process:
        said = process.communicate()[0]
    assert process.returncode == 128 + 9
    assert "error: process 1 of 2 (numbered from 0) was killed by SIGKILL" in said
    assert "Traceback" not in said
    assert_all_ended(parts)
    # the launcher alone, then all at once
    for name, whom in (("iter_3.pth", "launcher"), ("iter_5.pth", "all")):
        with train(parts, "paused", "type='Fail', pause=0.3") as process:
            wait_for(parts / name, process)
            for pid in [process.pid] if whom == "launcher" else list(processes_with(parts)):
                os.kill(pid, signal.SIGKILL)
        assert process.returncode == -9
        assert_all_ended(parts)
        assert not (parts / "iter_8.pth").exists()
    with train(parts, "rest", f"type='Probe', folder='{parts}'") as process:
        said = process.communicate()[0]
    assert process.returncode == 0, said
    assert weights(whole / "iter_8.pth").keys() == weights(parts / "iter_8.pth").keys()
    for key, value in weights(whole / "iter_8.pth").items():
        assert torch.equal(value, weights(parts / "iter_8.pth")[key]), key
    for rank in (0, 1):
        one, two = (
            torch.load(str(f / f"rank{rank}.pth"), weights_only=True) for f in (whole, parts)
        )
        assert all(torch.equal(value, two["end"][key]) for key, value in one["end"].items())


def test_a_work_dir_has_one_run(tmp_path):
    ready, tell = os.pipe()
    other = os.fork()
    if other == 0:  # another run, which holds the folder until it is killed
        with launch.own_work_dir(str(tmp_path)):
            worker = os.fork()  # of its data loader, which outlives it for a moment
            if worker != 0:
                os.write(tell, str(worker).encode())
            time.sleep(60)
        os._exit(0)
    worker = int(os.read(ready, 20))
    refused = pytest.raises(ConfigError, match=f"runs process {other} of .*--work-dir")
    with refused, launch.own_work_dir(str(tmp_path), patience=0.3):
        pass
    os.kill(other, signal.SIGKILL)  # the lock goes with the process, without a trace
    with launch.own_work_dir(str(tmp_path), patience=5):
        pass
    os.waitpid(other, 0)
    os.kill(worker, signal.SIGKILL)  # it was still there
    with launch.own_work_dir(str(tmp_path), patience=0):  # and with the end of the block
        pass


@pytest.mark.slow
def test_two_launches_at_once(stage, tmp_path):
    """On one machine, of one config: nothing but the work dir tells them apart."""
    config = stage(1, "at_once")
    runs = [
        start("tools/dist_train.sh", config, 2, "--work-dir", tmp_path / name, "--device", "cpu",
              "--no-validate", "--seed", "1")
        for name in ("one", "two")
    ]  # fmt: skip
    for run in runs:
        with run:
            said = run.communicate(timeout=300)[0]
        assert run.returncode == 0, said
    one, two = (weights(tmp_path / name / "latest.pth") for name in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.slow
@pytest.mark.parametrize("dies", [False, True])
def test_two_machines(dies, stage, tmp_path):
    """Two launchers of one process each, as on two machines; then with one that is killed."""
    port, work = str(torchrun.free_port()), tmp_path / "work"
    hook = f"type='Probe', folder='{work}'"
    if dies:
        hook = "type='Fail', rank=1, at=1, how='kill'"
    config = stage(2, "machines", f"custom_hooks = [dict({hook})]\n")
    runs = [
        start("tools/dist_train.sh", config, 1, "--work-dir", work, "--device", "cpu", "--seed",
              "1", NNODES="2", NODE_RANK=str(node), MASTER_ADDR="127.0.0.1", PORT=port)
        for node in (0, 1)
    ]  # fmt: skip
    for run in runs:
        with run:
            said = run.communicate(timeout=120)[0]
        assert (run.returncode != 0) == dies, said
        assert "Traceback" not in said
    assert_all_ended(work)
    if not dies:
        ranks = [torch.load(str(work / f"rank{rank}.pth"), weights_only=True) for rank in (0, 1)]
        assert all(torch.equal(ranks[0]["end"][k], v) for k, v in ranks[1]["end"].items())
        assert [rank["evaluated"] for rank in ranks] == [[7], []]


# --------------------------------------------------------------------------- slurm
SRUN = """#!{python}
# A stand-in for slurm's srun: notes what it was asked for, then starts the tasks on this machine.
import json, os, subprocess, sys
words = sys.argv[1:]
first = words.index(os.environ["PYTHON"])
with open({note!r}, "w") as handle:
    seen = {key: os.environ.get(key) for key in ("OMP_NUM_THREADS", "MASTER_PORT")}
    json.dump(dict(options=words[:first], command=words[first:], environment=seen), handle)
if os.environ.get("FAKE_SRUN") == "start":
    tasks = int(dict(w.lstrip("-").split("=", 1) for w in words[:first] if "=" in w)["ntasks"])
    common = dict(os.environ, SLURM_NTASKS=str(tasks), SLURM_NODELIST="node[0-0]",
                  SLURM_JOB_ID=str(os.getpid()), SLURM_STEP_ID="0")
    children = [subprocess.Popen(words[first:], env=dict(common, SLURM_PROCID=str(rank),
                                 SLURM_LOCALID=str(rank))) for rank in range(tasks)]
    sys.exit(max(abs(child.wait()) for child in children))
"""
SCONTROL = '#!/bin/sh\n[ "$1 $2 $3" = "show hostname node[0-0]" ] && echo localhost\n'


@pytest.fixture
def slurm(tmp_path):
    """A folder for the PATH with stand-ins for srun and scontrol, and srun's note."""
    note = tmp_path / "srun.json"
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        path = folder / name
        path.write_text(
            text.replace("{python}", sys.executable).replace("{note!r}", repr(str(note)))
        )
        path.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}", note


@pytest.mark.parametrize(
    ("variables", "options", "threads"),
    [
        ({}, ["--gres=gpu:8", "--ntasks=8", "--ntasks-per-node=8", "--cpus-per-task=5"], "5"),
        (
            {"GPUS": "16", "CPUS_PER_TASK": "12", "SRUN_ARGS": "--time=10:00 --qos=low"},
            ["--gres=gpu:8", "--ntasks=16", "--ntasks-per-node=8", "--cpus-per-task=12",
             "--time=10:00", "--qos=low"],
            "12",
        ),
        ({"GPUS": "2"}, ["--gres=gpu:2", "--ntasks=2", "--ntasks-per-node=2"], "5"),
        (
            {"GPUS": "0", "TASKS": "3", "CPUS_PER_TASK": "2"},
            ["--ntasks=3", "--cpus-per-task=2"],
            "2",
        ),
    ],
)  # fmt: skip
def test_slurm_command(variables, options, threads, slurm):
    path, note = slurm
    given = {"PYTHON": sys.executable, "PATH": path, "OMP_NUM_THREADS": "", "PORT": "", **variables}
    done = bash("tools/slurm_train.sh", "gpu", "my_job", "config.py", "--auto-resume", "--seed",
                "1", **given)  # fmt: skip
    assert done.returncode == 0, done.stdout
    asked = json.loads(note.read_text())
    assert asked["options"][:3] == ["-p", "gpu", "--job-name=my_job"]
    assert set(options) <= set(asked["options"]) and "--kill-on-bad-exit=1" in asked["options"]
    assert any("--gres" in word for word in asked["options"]) == (variables.get("GPUS") != "0")
    device = ["--device", "cpu"] if variables.get("GPUS") == "0" else []
    assert asked["command"] == [
        sys.executable, "-u", str(REPO / "tools" / "train.py"), "config.py",
        "--launcher", "slurm", *device, "--auto-resume", "--seed", "1",
    ]  # fmt: skip
    assert asked["environment"] == {"OMP_NUM_THREADS": threads, "MASTER_PORT": None}
    assert bash("tools/slurm_train.sh", "p", "j", "c", **{**given, "PORT": "21000"}).returncode == 0
    assert json.loads(note.read_text())["environment"]["MASTER_PORT"] == "21000"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"GPUS": "many"}, "expected numbers in GPUS, GPUS_PER_NODE and TASKS, got 'many'"),
        ({"GPUS": "12"}, "GPUS=12: expected a multiple of GPUS_PER_NODE=8"),
    ],
)
def test_slurm_errors(variables, words, slurm):
    done = bash("tools/slurm_train.sh", "gpu", "my_job", "config.py", PATH=slurm[0], **variables)
    assert done.returncode == 2 and words in done.stdout
    assert not slurm[1].exists()


def test_slurm_is_missing():
    done = bash("tools/slurm_train.sh", "gpu", "my_job", "config.py", PATH="/usr/bin:/bin")
    assert done.returncode == 1 and "expected slurm's srun on the PATH" in done.stdout


@pytest.mark.slow
def test_two_tasks_of_slurm_train(stage, slurm, tmp_path):
    """Two tasks meet by slurm's variables alone and learn the same."""
    path, _ = slurm
    work = tmp_path / "work"
    done = bash("tools/slurm_train.sh", "cpu", "my_job", stage(2, "slurm", probe(work)),
                "--work-dir", work, "--seed", "7",
                PATH=path, FAKE_SRUN="start", GPUS="0", TASKS="2")  # fmt: skip
    assert done.returncode == 0, done.stdout
    ranks = [torch.load(str(work / f"rank{rank}.pth"), weights_only=True) for rank in (0, 1)]
    assert all(torch.equal(ranks[0]["end"][k], ranks[1]["end"][k]) for k in ranks[0]["end"])
    assert {*ranks[0]["tested"]} != {*ranks[1]["tested"]} and ranks[0]["evaluated"] == [7]
    meta = torch.load(str(work / "latest.pth"), weights_only=True)["meta"]
    assert meta["world_size"] == 2 and meta["iter"] == 2
