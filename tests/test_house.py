"""The house's rules: arrows go one way, a method is one file, docs are as the cards say."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from freekd.losses import cards
from freekd.study.bundled import TASKS
from freekd.study.rows import BASELINE

ROOT = Path(__file__).resolve().parents[1]
# Lowest first: a room uses those before it, and itself.
ROOMS = [
    "checks",
    "cli",
    "registry",
    "widen",
    "fileio",
    "state_dict",
    "words",
    "held",
    "frequency",
    "gates",
    "prompts",
    "losses",
    "compat",
    "tasks",
    "zoo",
    "distill",
    "models",
    "config",
    "datasets",
    "engine",
    "convert",
    "visualization",
    "doctor",
    "analysis",
    "study",
    "report",
]


def module_of(path):
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted((ROOT / "freekd").rglob("*.py"))}


def imports(module):
    """The modules of freekd that a module imports, at its top or in a function."""
    path, found = FILES[module], set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            start = ".".join(base) if node.level else ""
            target = ".".join(filter(None, (start, node.module)))
            names = {f"{target}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else target for name in names}
    return {name for name in found if name in FILES and name not in ("freekd", module)}


def test_rooms_are_all_named():
    there = {name.split(".")[1] for name in FILES if "." in name}
    assert there <= set(ROOMS), "give a new room its place in ROOMS"


@pytest.mark.parametrize("module", [name for name in FILES if "." in name])
def test_arrows_go_one_way(module):
    own = ROOMS.index(module.split(".")[1])
    above = {name for name in imports(module) if ROOMS.index(name.split(".")[1]) > own}
    assert not above, f"{module} is below {sorted(above)}"


def test_no_circles():
    """Not even through an import inside a function; a package and its own modules apart."""
    graph = {
        module: {
            other
            for other in imports(module)
            if FILES[other].name != "__init__.py" and FILES[module].name != "__init__.py"
        }
        for module in FILES
    }
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for other in sorted(graph[module]):
                visit(other)
            path.pop()
            done.add(module)

    for module in graph:
        visit(module)


# --------------------------------------------------------------------------- one method a file
CODE = [
    path
    for folder in ("freekd", "tools", "benchmarks", "tests", "docs")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# Files that may name a method beside its own, each with the reason.
MAY_NAME = {
    "freekd/config/old_keys.py": "says what the keys of version 0.1 became",
}


@pytest.mark.parametrize("name", [name for name in cards() if name != "freekd"])
def test_no_other_file_names_a_method(name):
    """But the one that the package is named after. Tests may take a method as an example."""
    quoted = re.compile(rf"""["']{name}["']|freekd[./]losses[./]{name}\b""")
    named = [
        str(path.relative_to(ROOT))
        for path in CODE
        if path.relative_to(ROOT).parts[0] != "tests"
        and path != ROOT / "freekd" / "losses" / f"{name}.py"
        and quoted.search(path.read_text(encoding="utf-8"))
    ]
    assert [path for path in named if path not in MAY_NAME] == []


@pytest.mark.parametrize("name", list(cards()))
def test_a_method_has_its_test(name):
    assert (ROOT / "tests" / "losses" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", list(cards()))
def test_a_method_s_rows_have_configs(name):
    """Of tasks that it is made for, and each of a name that no other method has there."""
    others = [card for card in cards().values() if card.name != name]
    for task, own in cards()[name].bundled.items():
        assert TASKS[task].task in cards()[name].tasks
        taken = {row for card in others for row in card.bundled.get(task, {})} | {BASELINE}
        assert not taken & set(own)
        for row in own.values():
            assert (ROOT / row.config).is_file()
            assert row.config.startswith(f"configs/{name}/")


def test_pages_are_as_the_cards_say():
    command = [sys.executable, "docs/write_methods.py", "--check"]
    done = subprocess.run(command, cwd=str(ROOT), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
