"""The package that is built, and tools/setup_env.sh: what it refuses, and what it does only once.

The script runs here with a stand-in for Python that answers its questions and notes what it was
asked to install, so that nothing is installed and nothing is compiled.
"""

import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETUP = ROOT / "tools" / "setup_env.sh"

# All that setup_env.sh calls, compilers and pythons left out.
TOOLS = """
awk bash cat cp cut date df dirname du env find flock grep gzip head ls mkdir mv nproc paste
printf readlink rm sed sha256sum sleep sort tail tar tee timeout touch tr uname
""".split()

# Stands for an interpreter, inside and outside of the environment that it "makes".
STAND_IN = """#!/usr/bin/env bash
[ "$2" = -S ] || printf '%s\\n' "$*" >>{calls}
case "$*" in
  *%d.%d*) [ -z "{version}" ] || {{ echo "{version}"; exit; }} ;;
  *'import venv, ensurepip'*) exit {ensurepip} ;;
  *get_paths*) [ -z "{include}" ] || {{ echo "{include}"; exit; }} ;;
  '-m venv '*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/pyvenv.cfg"; exit ;;
  *' download '*) # the source package
    while [ "$1" != -d ]; do shift; done
    mkdir -p "$2/mmcv" && echo source >"$2/mmcv/setup.py"
    tar -czf "$2/mmcv-full-1.7.2.tar.gz" -C "$2" mmcv; exit ;;
  *'-m pip'*) [ ! -f {fail} ] || {{ cat {fail}; exit 7; }}; exit ;;
  'setup.py bdist_wheel '*)
    [ -f "$FREEKD_PCH/torch.hpp" ] || exit 5
    [ ! -f {slow} ] || {{ touch "$FREEKD_PCH/torch.hpp.gch"; echo '[3/10] c++ three.cpp'; }}
    [ ! -f {slow} ] || sleep 60
    mkdir -p "$4" && echo wheel >"$4/mmcv_full-1.7.2-cp311-cp311-linux_x86_64.whl"; exit ;;
  'tools/_env_check.py '*) exit ;;
esac
exec {real} "$@"
"""


class Machine:
    """A PATH, a stand-in for Python and places to install to, all below one temporary folder."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.venv, self.cache, self.bin = tmp / "venv", tmp / "cache", tmp / "bin"
        self.calls, self.fail, self.slow = tmp / "calls", tmp / "fail", tmp / "slow"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.script("c++", 'PATH=%s exec c++ "$@"' % shlex.quote(os.environ["PATH"]))
        self.script("nvidia-smi", "exit 1")
        self.free_disk(100_000)
        self.env = {
            "PATH": str(self.bin),
            "HOME": str(tmp / "home"),
            "FREEKD_VENV": str(self.venv),
            "FREEKD_CACHE": str(self.cache),
            "FREEKD_PYTHON": str(self.python("python-stand-in", version="3.11")),
        }

    def script(self, name: str, body: str) -> Path:
        path = self.bin / name
        if path.exists() or path.is_symlink():
            path.unlink()
        path.write_text("#!/usr/bin/env bash\n" + body + "\n")
        path.chmod(0o755)
        return path

    def python(self, name: str, version: str = "", ensurepip: int = 0, include: str = "") -> Path:
        path = self.bin / name
        path.write_text(
            STAND_IN.format(
                calls=self.calls,
                fail=self.fail,
                slow=self.slow,
                real=sys.executable,
                version=version,
                ensurepip=ensurepip,
                include=include,
            )
        )
        path.chmod(0o755)
        return path

    def free_disk(self, mib: int) -> None:
        self.script("df", f"echo header; echo /dev/test 0 0 {mib * 1024} 0% /")

    def gpu(self) -> None:
        self.script(
            "nvidia-smi",
            'case "$*" in -L) echo "GPU 0: Test (UUID: 0)";; *compute_cap*) echo 9.0;; esac',
        )

    def setup(self, **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", str(SETUP)],
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )

    def refused(self, **env: str) -> str:
        """Run it, check that it refused without leaving a trace, and give its message."""
        before = sorted(p.relative_to(self.tmp) for p in self.tmp.rglob("*") if p != self.calls)
        result = self.setup(**env)
        assert result.returncode == 1, result.stdout
        after = sorted(p.relative_to(self.tmp) for p in self.tmp.rglob("*") if p != self.calls)
        assert after == before
        assert "nothing has been changed" in result.stdout
        assert "bash tools/setup_env.sh" in result.stdout
        return result.stdout

    def called(self, pattern: str) -> int:
        text = self.calls.read_text() if self.calls.exists() else ""
        return len(re.findall(pattern, text, flags=re.MULTILINE))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# ------------------------------------------------------------------------------ the package


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    shutil.copytree(
        ROOT / "freekd", source / "freekd", ignore=shutil.ignore_patterns("__pycache__")
    )
    command = "pip wheel . --no-deps --no-build-isolation --no-index -q -w out".split()
    subprocess.run([sys.executable, "-m", *command], cwd=source, check=True)
    (path,) = (source / "out").glob("freekd-*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_every_module_and_the_typing_marker(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")}
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "freekd").rglob("*.py")
        if "__pycache__" not in path.parts
    }
    page = {f"freekd/report/page.{kind}" for kind in ("html", "css", "js")}
    assert packed == modules | page | {"freekd/py.typed"}
    assert {"freekd/frequency/__init__.py", "freekd/models/__init__.py"} <= packed


def test_wheel_metadata(wheel: zipfile.ZipFile) -> None:
    (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    metadata = wheel.read(name).decode()
    version = re.search(r'__version__ = "(.*)"', (ROOT / "freekd" / "__init__.py").read_text())
    assert version is not None
    assert f"\nVersion: {version.group(1)}\n" in metadata
    assert "\nRequires-Python: >=3.8\n" in metadata
    assert re.findall(r"^Provides-Extra: (\w+)$", metadata, flags=re.MULTILINE) == [
        "mm",
        "data",
        "logging",
        "sam",
        "robustness",
        "dev",
        "all",
    ]


def test_pinned_versions_lie_in_the_ranges_of_setup_py() -> None:
    packaging_requirements = pytest.importorskip("packaging.requirements")
    files = ("pinned.txt", "dev.txt", "mmcv.txt", "robustness.txt")
    text = "\n".join((ROOT / "requirements" / name).read_text() for name in files)
    pins = {}
    for name, version in re.findall(r"^([\w-]+)==([\w.]+)", text, flags=re.MULTILINE):
        pins.setdefault(name.lower().replace("_", "-"), []).append(version)
    pins["opencv-python"] = pins["opencv-python-headless"]  # what is pinned in its place
    ranges = [
        packaging_requirements.Requirement(item)
        for item in re.findall(r'^ *(?:SEG = \[)?"([\w-]+(?:[<>=][^"]*)?)",?', _setup_lists(), re.M)
    ]
    assert {"torch", "mmcv-full", "mmdet", "mmrazor", "pytest"} <= {r.name for r in ranges}
    for wanted in ranges:
        for version in pins[wanted.name.lower().replace("_", "-")]:
            assert wanted.specifier.contains(version), f"{wanted} but {version} is pinned"


def _setup_lists() -> str:
    text = (ROOT / "setup.py").read_text()
    return text[text.index("CORE = [") : text.index("setup(\n")].replace("[", "[\n")


# ------------------------------------------------------------------------------ the scripts


def _shell_scripts() -> list:
    found = [ROOT / ".ci" / "run", *sorted((ROOT / "tools").rglob("*.sh"))]
    assert SETUP in found and len(found) >= 4
    return found


@pytest.mark.parametrize("path", _shell_scripts(), ids=lambda p: p.name)
def test_shell_scripts_parse_and_are_executable(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)
    if not path.name.startswith("_"):  # those are sourced by others
        assert path.read_text().startswith("#!/usr/bin/env bash\n")
        assert path.stat().st_mode & stat.S_IXUSR, f"chmod +x {path}"


# --------------------------------------------------------------- setup_env.sh: what it refuses


@pytest.mark.parametrize("version", ["2.7", "3.7", "3.9", "3.13"])
def test_unsupported_python(machine: Machine, version: str) -> None:
    python = machine.python("old", version=version)
    message = machine.refused(FREEKD_PYTHON=str(python))
    assert "Python 3.10, 3.11 or 3.12 is needed" in message
    assert f"{python}: is Python {version}" in message
    assert "apt-get install python3.11" in message


def test_python_that_is_not_there(machine: Machine) -> None:
    assert "/no/python: not found" in machine.refused(FREEKD_PYTHON="/no/python")


def test_no_python_at_all_and_no_compiler_are_told_at_once(machine: Machine) -> None:
    del machine.env["FREEKD_PYTHON"]
    (machine.bin / "c++").unlink()
    message = machine.refused()
    assert "Found:\n" in message and "none" in message
    assert "No C++ compiler" in message


def test_python_that_does_not_run_is_passed_over(machine: Machine) -> None:
    """As with the shims of pyenv, which are there for versions that are not selected."""
    del machine.env["FREEKD_PYTHON"]
    machine.script("python3.11", "echo 'pyenv: python3.11: command not found' >&2; exit 127")
    machine.free_disk(10)
    message = machine.refused()
    assert "python3.11: does not run" in message
    machine.python("python3.12", version="3.12")
    message = machine.refused()
    assert "Not enough disk" in message and "is needed, with venv" not in message


def test_python_without_venv(machine: Machine) -> None:
    python = machine.python("bare", version="3.11", ensurepip=1)
    message = machine.refused(FREEKD_PYTHON=str(python))
    assert "cannot make virtual environments" in message
    assert "python3.11-venv" in message


def test_python_without_headers(machine: Machine) -> None:
    python = machine.python("bare", version="3.11", include="/no/include")
    message = machine.refused(FREEKD_PYTHON=str(python))
    assert "has no C headers (/no/include/Python.h)" in message
    assert "python3.11-dev" in message


def test_no_compiler(machine: Machine) -> None:
    (machine.bin / "c++").unlink()
    message = machine.refused()
    assert "No C++ compiler (c++)" in message
    assert "apt-get install build-essential" in message


def test_compiler_that_is_too_old(machine: Machine) -> None:
    machine.script("c++", "echo 'unrecognized command line option -std=c++17' >&2; exit 1")
    message = machine.refused()
    assert "cannot compile a small C++17 program" in message
    assert "unrecognized command line option" in message


def test_disk_too_small(machine: Machine) -> None:
    machine.free_disk(2000)
    message = machine.refused()
    assert "Not enough disk on /dev/test: 2000 MiB are free" in message
    needed = re.search(r"(\d+) MiB are needed", message)
    assert needed is not None and 6000 < int(needed.group(1)) < 20000


def test_folder_that_is_no_environment_is_left_alone(machine: Machine) -> None:
    machine.venv.mkdir()
    (machine.venv / "thesis.tex").write_text("mine")
    assert "is no virtual environment" in machine.refused()


def test_gpu_without_nvcc(machine: Machine) -> None:
    machine.gpu()
    message = machine.refused(CUDA_HOME=str(machine.tmp / "no-cuda"))
    assert "no nvcc" in message
    assert "FREEKD_CPU_OPS=1" in message


def test_nvcc_of_another_cuda(machine: Machine) -> None:
    machine.gpu()
    toolkit = machine.tmp / "cuda" / "bin"
    toolkit.mkdir(parents=True)
    machine.script("nvcc-11", "echo 'Cuda compilation tools, release 11.8, V11.8.89'")
    (toolkit / "nvcc").symlink_to(machine.bin / "nvcc-11")
    message = machine.refused(CUDA_HOME=str(machine.tmp / "cuda"))
    assert "is of CUDA 11.8" in message and "torch will be of CUDA 13" in message


# --------------------------------------------------------------- setup_env.sh: what it does


def test_installs_once_and_compiles_once_per_machine(machine: Machine) -> None:
    first = machine.setup()
    assert first.returncode == 0, first.stdout
    assert "Environment is ready" in first.stdout
    assert machine.called(r"^setup.py bdist_wheel") == 1
    assert machine.called(r"pip .*install .*requirements/pinned.txt") >= 1
    assert [p.name for p in (machine.cache / "wheels").glob("*/*.whl")] == [
        "mmcv_full-1.7.2-cp311-cp311-linux_x86_64.whl"
    ]
    assert not list((machine.cache / "build").iterdir())

    machine.calls.write_text("")
    started = time.perf_counter()
    second = machine.setup()
    assert time.perf_counter() - started < 2.0
    assert second.stdout == f"Environment is up to date: {machine.venv}\n"
    assert machine.called("pip") == 0

    # another environment on the same machine takes the wheel that is there
    other = machine.setup(FREEKD_VENV=str(machine.tmp / "other"))
    assert other.returncode == 0 and "compiled before" in other.stdout
    assert machine.called(r"^setup.py bdist_wheel") == 0
    assert machine.called(r"install .*mmcv_full-1.7.2") == 1


def test_no_compiler_is_needed_when_the_wheel_is_there(machine: Machine) -> None:
    assert machine.setup().returncode == 0
    (machine.bin / "c++").unlink()
    assert machine.setup(FREEKD_VENV=str(machine.tmp / "other")).returncode == 0


def test_changed_input_runs_the_steps_again(machine: Machine) -> None:
    assert machine.setup().returncode == 0
    machine.calls.write_text("")
    again = machine.setup(FREEKD_CPU_OPS="1")
    assert again.returncode == 0 and "already there" in again.stdout
    assert machine.called(r"install .*requirements/pinned.txt") >= 1
    assert machine.called(r"install .*mmcv_full") == 0


def test_wanting_another_python_than_the_environment_has(machine: Machine) -> None:
    assert machine.setup().returncode == 0
    newer = machine.python("newer", version="3.12")
    result = machine.setup(FREEKD_PYTHON=str(newer))
    assert result.returncode == 1
    assert "was made with Python 3.11" in result.stdout and "is Python 3.12" in result.stdout
    assert "rm -rf" in result.stdout


def test_failed_step_shows_the_end_of_its_output(machine: Machine) -> None:
    machine.fail.write_text(
        "\n".join(f"line {i}" for i in range(100)) + "\nNo matching distribution found for torch\n"
    )
    result = machine.setup()
    assert result.returncode == 1
    assert "No matching distribution found for torch" in result.stdout
    assert "line 98" in result.stdout and "line 30\n" not in result.stdout
    assert str(machine.venv / "setup.log") in result.stdout
    assert "check the network" in result.stdout
    assert not (machine.venv / ".freekd" / "stamp").exists()

    machine.fail.unlink()
    assert machine.setup().returncode == 0


@pytest.mark.parametrize("sent, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_compilation_stops_and_is_continued(
    machine: Machine, sent: signal.Signals, status: int
) -> None:
    machine.slow.write_text("")
    process = subprocess.Popen(
        ["bash", str(SETUP)],
        env=machine.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        # a shell in the background ignores SIGINT, and hands that on: a bash cannot trap it then
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 30
    while machine.called(r"^setup.py bdist_wheel") == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(sent)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == status
    assert "Interrupted. Call it again to continue" in output
    time.sleep(0.3)
    left = subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE, text=True).stdout
    assert str(machine.venv / "bin" / "python") + " setup.py" not in left
    assert not list((machine.cache / "wheels").glob("*/*.whl"))
    assert not list(machine.cache.glob("build/*/pch")), "400 MB of precompiled headers"
    assert not (machine.venv / ".freekd" / "stamp").exists()

    machine.slow.unlink()
    machine.calls.write_text("")
    assert machine.setup().returncode == 0
    assert machine.called(r"^setup.py bdist_wheel") == 1
    assert machine.called(" download ") == 0, "the unpacked sources of the first call are used"


def test_gpu_ops_are_compiled_for_this_gpu_and_kept_apart(machine: Machine) -> None:
    machine.gpu()
    toolkit = machine.tmp / "cuda"
    (toolkit / "bin").mkdir(parents=True)
    nvcc = machine.script(
        "nvcc-13",
        f'case "$*" in *dryrun*) echo "#$ TOP={toolkit}/bin/.." >&2;; '
        '*) echo "tools, release 13.0, V13.0.1";; esac',
    )
    (toolkit / "bin" / "nvcc").symlink_to(nvcc)
    result = machine.setup(CUDA_HOME=str(toolkit))
    assert result.returncode == 0, result.stdout
    (folder,) = (machine.cache / "wheels").glob("*/")
    assert re.fullmatch(r"cp\d+-torch.+-mmcv1\.7\.2-cuda13\.0-sm9\.0-\w+", folder.name)

    # the same environment where no GPU is seen (a cluster's login node): its ops serve there too
    machine.script("nvidia-smi", "exit 1")
    again = machine.setup()
    assert again.returncode == 0 and "already there" in again.stdout


def test_existing_environment_is_not_silently_replaced(machine: Machine) -> None:
    assert machine.setup().returncode == 0
    moved = machine.tmp / "moved"
    os.rename(machine.venv, moved)
    result = machine.setup(FREEKD_VENV=str(moved))
    assert result.returncode == 1
    assert "a virtual environment cannot be moved" in result.stdout


# --------------------------------------------------------------- pch_cxx.sh: the fast compiler


class Compiler:
    """tools/pch_cxx.sh over a c++ that notes its calls, and fails in the way a test asks for."""

    SOURCE = '#include "header.h"\nint f(std::vector<int> v) { return SEVEN + v.at(0); }\n'

    def __init__(self, tmp: Path) -> None:
        self.tmp, self.pch, self.calls = tmp, tmp / "pch folder", tmp / "calls"
        self.pch.mkdir()
        (self.pch / "torch.hpp").write_text("#include <vector>\n")
        (tmp / "header.h").write_text("#include <vector>\n#define SEVEN 7\n")
        for name in "abc":
            (tmp / f"{name}.cpp").write_text(self.SOURCE)
        self.broken("")

    def broken(self, how: str) -> None:
        path = self.tmp / "c++"
        real = shlex.quote(str(shutil.which("c++")))
        path.write_text(f'#!/usr/bin/env bash\necho "$*" >>{self.calls}\n{how}\nexec {real} "$@"\n')
        path.chmod(0o755)

    def run(self, *args: str) -> "subprocess.CompletedProcess[str]":
        env = {**os.environ, "FREEKD_CXX": f"{self.tmp}/c++ -DX=1", "FREEKD_PCH": str(self.pch)}
        return subprocess.run(
            [str(SETUP.with_name("pch_cxx.sh")), *args],
            env=env,
            cwd=self.tmp,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def compile(self, name: str) -> bytes:
        """As torch's ninja file has it; gives the object file."""
        object_file = self.tmp / f"{name}.o"
        flags = "-DNDEBUG -g -O3 -Wall -fPIC -I. -c -c".split()
        dependencies = ["-MMD", "-MF", f"{name}.o.d"]
        result = self.run(
            *dependencies, *flags, f"{name}.cpp", "-o", object_file.name, "-std=c++17"
        )
        assert result.returncode == 0, result.stdout
        self.said = result.stdout
        return object_file.read_bytes()

    def called(self, pattern: str) -> int:
        return len(re.findall(pattern, self.calls.read_text(), flags=re.MULTILINE))


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    return Compiler(tmp_path)


def _is_gcc() -> bool:
    command = ["c++", "-v"]
    return "gcc version" in subprocess.run(command, stderr=subprocess.PIPE, text=True).stderr


def test_headers_are_precompiled_once_and_give_the_same_object(compiler: Compiler) -> None:
    if not _is_gcc():
        pytest.skip("precompiled headers are used with gcc only")
    fast = [compiler.compile(name) for name in "abc"]
    assert compiler.called("-x c\\+\\+-header") == 1
    assert compiler.called(r"-include .*torch.hpp -Winvalid-pch$") == 3
    assert "Winvalid-pch" not in compiler.said, "gcc passed over the header"
    # ninja compiles anew what depends on a file that is gone
    assert "torch.hpp" not in (compiler.tmp / "a.o.d").read_text()
    assert "header.h" in (compiler.tmp / "a.o.d").read_text()

    shutil.rmtree(compiler.pch)
    assert [compiler.compile(name) for name in "abc"] == fast
    assert compiler.called("-include") == 3 + 1  # and once to see that the header is used


@pytest.mark.parametrize(
    "how",
    [
        'case "$*" in *c++-header*) exit 1;; esac',
        'case "$*" in *c++-header*) touch "${@: -1}"; exit;; esac',
    ],
    ids=["fails", "makes nothing useful"],
)
def test_compiler_without_precompiled_headers(compiler: Compiler, how: str) -> None:
    compiler.broken(how)
    compiler.compile("a")
    assert "makes no use of precompiled headers" in compiler.said
    compiler.compile("b")
    assert compiler.said == ""
    assert compiler.called("-x c\\+\\+-header") == 1
    assert compiler.called(" -c .*-include") == 0
    assert not list(compiler.pch.glob("*.gch")), "400 MB for nothing"


def test_precompiled_header_that_stops_working(compiler: Compiler) -> None:
    compiler.compile("a")
    compiler.broken("case \"$*\" in *' -include '*) echo 'had to relocate PCH' >&2; exit 1;; esac")
    compiler.compile("b")
    if _is_gcc():
        assert "had to relocate PCH" in compiler.said


def test_compilers_beside_the_one_that_makes_the_header_do_not_wait(compiler: Compiler) -> None:
    (compiler.pch / "begun").mkdir()
    compiler.compile("a")
    assert compiler.called("c\\+\\+-header") == 0 and compiler.called("-include") == 0


def test_compiler_is_asked_and_links_as_it_is(compiler: Compiler) -> None:
    compiler.compile("a")
    compiler.calls.write_text("")
    assert compiler.run("-dumpversion").stdout.strip()
    assert compiler.run("-shared", "a.o", "-o", "liba.so").returncode == 0
    assert compiler.calls.read_text() == "-DX=1 -dumpversion\n-DX=1 -shared a.o -o liba.so\n"
    (compiler.tmp / "a.cpp").write_text("int f() { return missing; }\n")
    assert compiler.run("-c", "a.cpp", "-o", "a.o").returncode == 1
