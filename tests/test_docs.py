"""What the pages say must hold: links, tools and their options, configs, code blocks."""

import argparse
import functools
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [page.name for page in PAGES]
INVENTED = re.compile(
    r"pets|my_|gfl|attention|<|/X/|X\.py|X_|CONFIG|\.\.\.|\*"
)  # a reader's own files in examples


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def anchors(text):
    """GitHub's names of the headings."""
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    plain = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = page if not name else (page.parent / name)
        assert other.exists(), target
        if anchor:
            assert anchor in anchors(other.read_text()), target


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_named_files_exist(page):
    text = page.read_text()
    named = re.findall(
        r"(?<![\w/.-])((?:configs|tools|tests|docs|freekd|requirements)/[\w./*<>-]+)", text
    )
    for name in named:
        name = name.rstrip(".")
        if not INVENTED.search(name):
            assert (ROOT / name).exists(), name


# what the shell launchers hand their options on to
BEHIND = {
    "tools/dist_train.sh": "tools/train.py",
    "tools/slurm_train.sh": "tools/train.py",
    "tools/dist_test.sh": "tools/test.py",
    "tools/quickstart.sh": "tools/quickstart.py",
}


@functools.lru_cache(maxsize=None)
def options_of(tool):
    """The options of the parser that the tool really makes: it is run up to parsing."""

    class Made(Exception):
        pass

    def stop(parser, *args, **kwargs):
        raise Made(parser)

    path = str(ROOT / tool)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Made) as made:
        patch.setattr(sys, "argv", [path])
        patch.setattr(sys, "path", [str(Path(path).parent), *sys.path])
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        runpy.run_path(path, run_name="__main__")
    return {"--help"} | set(re.findall(r"--[\w-]+", made.value.args[0].format_usage()))


def test_a_tools_options_are_its_own():
    """Not those of a module that it imports: tools/train.py imports much."""
    assert {"--auto-resume", "--student-only", "--cfg-options"} <= options_of("tools/train.py")
    assert "--eval" not in options_of("tools/train.py")
    assert "--auto-resume" not in options_of("tools/test.py")
    assert options_of("tools/make_digits.py") >= {"--out", "--num-train", "--help"}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_have_their_options(page):
    text = page.read_text().replace("\\\n", " ")
    for line in "\n".join(blocks(text, "bash")).splitlines():
        line = line.split("#")[0]
        found = re.search(r"((?:tools|benchmarks)/[\w/]+\.(?:py|sh))(.*)", line)
        tool = found and BEHIND.get(found.group(1), found.group(1))
        if tool and tool.endswith(".py"):
            unknown = set(re.findall(r"(?<=\s)(--[\w-]+)", found.group(2))) - options_of(tool)
            assert not unknown, line


def configs_in_pages():
    """Python blocks that are configs, each with the file name given just before or invented."""
    for page in PAGES:
        text = page.read_text()
        for i, block in enumerate(blocks(text, "python")):
            if block.startswith("_base_ ="):
                before = text[: text.index(block)]
                named = re.findall(
                    r"`(configs/[\w/]+\.py)`", before.splitlines()[-2] + before[-400:]
                )
                yield pytest.param(
                    page, named[-1] if named else "configs/x/x.py", block, id=f"{page.name}-{i}"
                )


@pytest.mark.parametrize("page, name, block", configs_in_pages())
def test_configs_in_pages_can_be_read(page, name, block, tmp_path, monkeypatch):
    from freekd.config.load import load_config
    from freekd.engine.print_config import resolved

    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "_base_").symlink_to(ROOT / "configs" / "_base_")
    for other in configs_in_pages():
        if other.values[0] == page:
            path = tmp_path / other.values[1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(other.values[2])
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(block)
    cfg = resolved(load_config(name))
    assert "data" in cfg
    if "pair = " in block:
        assert cfg.algorithm.architecture.model.type and cfg.algorithm.distiller.teacher.type


# --------------------------------------------------------------------------- what pages keep to
def test_every_page_is_in_the_readmes_list():
    text = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES[1:] if f"]({page.relative_to(ROOT)}" not in text] == []


WIDE = {"methods.md", "supported.md"}  # the first two are written by scripts
PROSE = [*(page for page in PAGES if page.name not in WIDE), ROOT / "CHANGELOG.md"]


@pytest.mark.parametrize("page", PROSE, ids=[page.name for page in PROSE])
def test_prose_is_narrow(page):
    """Diffs of prose can be read; tables, addresses and what programs print may be wide."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    wide = [x for x in prose.splitlines() if len(x) > 120 and not x.startswith("|")]
    assert [line for line in wide if "://" not in line] == []


def test_named_taps_are_in_words():
    """A method's taps by name are no dict of Python's on the page."""
    page = (ROOT / "docs" / "methods.md").read_text()
    assert "of the student `s3` at `three_quarters`" in page
    assert not re.findall(r"\{'.*?\}", page)


def test_the_citation_is_of_this_version():
    import yaml

    import freekd

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["cff-version"]) == "1.2.0"
    assert citation["version"] == freekd.__version__
    assert {"message", "title", "authors"} <= set(citation)
    paper = citation["preferred-citation"]
    assert {"type", "title", "authors"} <= set(paper)
    assert f"## {freekd.__version__}" in (ROOT / "CHANGELOG.md").read_text()


# --------------------------------------------------------------------------- a method of one's own
def test_the_example_of_a_method_works(tmp_path):
    """docs/add_a_method.md in a copy of the project: its files, its golden numbers, its classes."""
    text = (ROOT / "docs" / "add_a_method.md").read_text()
    shutil.copytree(ROOT / "freekd", tmp_path / "freekd", ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copytree(ROOT / "configs" / "_base_", tmp_path / "configs" / "_base_")
    (tmp_path / "tests" / "losses").mkdir(parents=True)
    (tmp_path / "tests" / "golden").mkdir()
    for name in ("pyproject.toml", "tests/losses/test_golden.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    scripts = []
    for block in blocks(text, "python"):
        before = text[: text.index(block)].rsplit("```", 1)[0][-200:]
        named = re.findall(r"`((?:freekd|configs|tests)/[\w/]+\.py|my_\w+\.py)`", before)
        path = tmp_path / (named[-1] if named else f"part_{len(scripts)}.py")
        if not before.rstrip().endswith(":"):  # no file of its own
            path = tmp_path / f"part_{len(scripts)}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)
        if path.name.startswith("part_"):
            scripts.append(path)
    for script in scripts:
        run([script.name], tmp_path)
    config = next((tmp_path / "configs" / "attention").glob("*.py"))
    read = "from freekd.config.load import load_config; print(load_config('{}').algorithm)"
    run(["-c", read.format(config.relative_to(tmp_path))], tmp_path)
    run(["-m", "pytest", "-q", "--doctest-modules", "-k", "attention", "freekd/losses/attention.py",
         "tests/losses/test_attention.py", "tests/losses/test_golden.py"], tmp_path)  # fmt: skip


def run(arguments, folder):
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=str(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
