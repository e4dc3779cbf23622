"""What the pages say must hold: links, tools and their options, configs, code blocks."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [page.name for page in PAGES]
INVENTED = re.compile(r"pets|my_|gfl|<|X\.py|CONFIG|\.\.\.|\*")  # a reader's own files in examples


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


def options_of(tool, depth=2):
    """The options that a tool's parser knows, read from its source and what that imports."""
    text = (ROOT / tool).read_text()
    found = set(re.findall(r'"(--[\w-]+)"', text)) | {"--help"}
    for module in re.findall(r"^from (freekd\.engine[\w.]*) import", text, re.M):
        path = ROOT / (module.replace(".", "/") + ".py")
        path = path if path.exists() else path.with_suffix("") / "__init__.py"
        if depth:
            found |= options_of(path, depth - 1)
    return found


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_have_their_options(page):
    text = page.read_text().replace("\\\n", " ")
    for line in "\n".join(blocks(text, "bash")).splitlines():
        line = line.split("#")[0]
        found = re.search(r"(tools/[\w/]+\.py)(.*)", line)
        if found:
            tool, rest = found.groups()
            unknown = set(re.findall(r"(?<=\s)(--[\w-]+)", rest)) - options_of(tool)
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
    from freekd.engine.print_config import resolved
    from freekd.engine.setup import load_config

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
