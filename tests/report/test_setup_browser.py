"""tools/setup_browser.sh: what it says where it cannot go on, and that it does nothing twice."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "requirements" / "browser.txt"


@pytest.fixture
def run(tmp_path):
    """A PATH of stand-ins: ``run(chromium=..., ...)`` writes them, and gives exit code and text."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in (
        "bash",
        "dirname",
        "id",
        "cmp",
        "head",
        "cp",
        "rm",
        "mkdir",
        "mktemp",
        "tail",
        "env",
    ):
        (programs / name).symlink_to(shutil.which(name))
    python = tmp_path / "venv" / "bin" / "python"

    def called(with_python=True, **stand_ins):
        if with_python:
            python.parent.mkdir(parents=True, exist_ok=True)
            target = tmp_path / "venv" / "browser"
            python.write_text(f'#!/bin/bash\necho "$*" >>{tmp_path}/pip\nmkdir -p {target}\n')
            python.chmod(0o755)
        for name, body in stand_ins.items():
            path = programs / name.replace("_", "-")
            path.write_text(f"#!/bin/bash\n{body}\n")
            path.chmod(0o755)
        done = subprocess.run(
            ["bash", str(ROOT / "tools" / "setup_browser.sh")],
            env={"PATH": str(programs), "FREEKD_VENV": str(tmp_path / "venv")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return called


def test_needs_the_environment_first(run):
    code, said = run(with_python=False)
    assert code == 1 and "bash tools/setup_env.sh" in said


def test_no_means_to_install(run):
    code, said = run()
    assert code == 1 and "there is no apt-get" in said and "chromium and chromedriver" in said


def test_apt_fails(run):
    code, said = run(apt_get="echo 'E: no network'; exit 100")
    if os.getuid():
        assert "needs root" in said
    else:
        assert code == 1 and "E: no network" in said and "Check the network" in said


def test_installs_once(run, tmp_path):
    there = dict(chromium="echo Chromium 1", chromedriver="")
    code, said = run(**there)
    assert code == 0 and "Browser is ready: Chromium 1" in said
    assert "Installing selenium" in said and "apt-get" not in said
    pip = (tmp_path / "pip").read_text()
    assert "--no-deps" in pip and str(PINS) in pip
    code, said = run(**there)
    assert code == 0 and "Installing" not in said
    assert (tmp_path / "pip").read_text() == pip


def test_pins_are_exact():
    lines = [line for line in PINS.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) > 10 and all(line.count("==") == 1 for line in lines)
