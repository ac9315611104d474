"""The documentation: what a page links to, names and quotes is there."""

from __future__ import annotations

import inspect
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from nightgate import api, cli, paths, registry

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([
    *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "dashboards/README.md",
    *(ROOT / "include/nightgate").rglob("*.md"), *(ROOT / "examples").rglob("*.md"),
])  # fmt: skip
MOST_LINES = 150  # of the README

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.M)
QUOTE = re.compile(r"<!-- (\S+) -->\n```\w+\n(.*?)^```$", re.M | re.S)

each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def code(text: str) -> Iterator[str]:
    """Every line of a console block without its prompt, a continued one whole, and every span of code."""
    for kind, block in BLOCK.findall(text):
        if kind == "console":
            lines = block.replace("\\\n", " ").splitlines()
            yield from (line.removeprefix("$ ") for line in lines if line.startswith("$ "))
    yield from (" ".join(span.split()) for span in SPAN.findall(BLOCK.sub("", text)))


def commands(text: str, program: str) -> Iterator[list[str]]:
    """The words after ``program`` wherever code calls it, whatever stands before it on its line."""
    for line in code(text):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a piece of text, and no command
            continue
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # variables set for it
            words.pop(0)
        if words and Path(words[0]).name == program:
            yield words[1:]


def targets(words: list[str]) -> list[str]:
    return [word for word in words if "=" not in word and not word.startswith("-")]


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(BLOCK.sub("", text)))
    return {title.strip().replace(" ", "-") for title in plain}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """(file, anchor) of every link to a file of the project."""
    for link in LINK.findall(BLOCK.sub("", page.read_text())):
        if "://" not in link:
            place, _, anchor = link.partition("#")
            yield (page.parent / place).resolve() if place else page, anchor


@each_page
def test_links_lead_somewhere(page):
    broken = [str(file) for file, _ in links(page) if not file.exists()]
    assert broken == []
    lost = [
        f"{file.name}#{anchor}" for file, anchor in links(page) if anchor and anchor not in anchors(file.read_text())
    ]
    assert lost == []


def test_every_page_is_found_from_the_readme():
    found, new = set(), {ROOT / "README.md"}
    while new:
        found |= new
        new = {file for page in new for file, _ in links(page) if file.suffix == ".md"} - found
    assert {page for page in PAGES if (ROOT / "docs") in page.parents} - found == set()


def test_the_readme_is_short_and_its_pictures_are_small():
    assert len((ROOT / "README.md").read_text().splitlines()) <= MOST_LINES
    pictures = list((ROOT / "docs/images").glob("*.png"))
    assert pictures and all(picture.stat().st_size <= 300_000 for picture in pictures)


@each_page
def test_every_make_target_exists(page):
    known = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.M))
    named = [target for words in commands(page.read_text(), "make") for target in targets(words)]
    assert [target for target in named if target not in known] == []


@each_page
def test_every_nightgate_command_and_option_exists(page):
    for words in commands(page.read_text(), "nightgate"):
        command, rest = typer.main.get_command(cli.app), list(words)
        while (commands_ := getattr(command, "commands", None)) and rest and not rest[0].startswith("-"):
            name = rest.pop(0)
            assert name in commands_, f"nightgate {' '.join(words)}"
            command = commands_[name]
        known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)} | {"--help"}
        unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in known]
        assert unknown == [], f"nightgate {' '.join(words)}"


def leaves(command, words=()):
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, (*words, name)) if hasattr(inner, "commands") else [(*words, name)]


def test_every_nightgate_command_is_described():
    text = (ROOT / "docs/suite.md").read_text()
    described = {tuple(words) for words in commands(text, "nightgate")}
    assert [command for command in leaves(typer.main.get_command(cli.app)) if command not in described] == []


@each_page
def test_every_path_after_set_is_of_a_suite(page):
    for path in re.findall(r"--set \"?([a-z_]+(?:\.\w+)+)=", page.read_text()):
        root, *rest = path.split(".")
        if root == "objectives":
            root, metric, *device = rest
            assert metric in {spec.name for spec in registry.named(root).all_metrics}, path
            assert set(device) <= {"cpu", "gpu"}, path
        else:
            assert rest[0] in registry.named(root).settings.model_fields, path


def test_the_variables_are_those_that_are_read():
    said = (ROOT / "docs/operating.md").read_text()
    assert set(re.findall(r"\bNIGHTGATE_[A-Z_]+\b", re.sub(r"prefix `NIGHTGATE_`", "", said))) == set(paths.VARIABLES)


def test_the_floors_are_those_that_are_held():
    floors = runpy.run_path(str(ROOT / "tests/unit/test_floors.py"))["FLOORS"]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs/architecture.md").read_text(), re.M)
    assert {int(number): set(re.findall(r"\w+", rooms)) for number, rooms in rows} == dict(enumerate(floors, 1))


@each_page
def test_what_is_quoted_is_the_file(page):
    for file, quoted in QUOTE.findall(page.read_text()):
        assert quoted == (ROOT / file).read_text(), file


def test_the_page_on_plug_ins_shows_every_group():
    quoted = {file for file, _ in QUOTE.findall((ROOT / "docs/plugins.md").read_text())}
    assert len(quoted) >= 4


@each_page
def test_what_a_page_calls_public_is(page):
    named = re.findall(r"\bapi\.(\w+)", page.read_text())
    assert [name for name in named if name not in api.__all__ and name != "py"] == []


def test_all_that_is_public_says_what_it_is():
    assert len(api.__all__) == len(set(api.__all__))
    silent = []
    for name in api.__all__:
        thing = getattr(api, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            said = thing.__doc__ or ""
            silent += [] if said and not said.startswith(f"{name}(") else [name]  # a dataclass writes that of itself
    assert silent == []
