"""The project's commits between two runs, each as a change that a search can try."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nightgate import paths
from nightgate.duet import sides
from nightgate.duet.sides import Between, side_of
from nightgate.environments import build, code
from nightgate.environments.lock import Lock
from nightgate.errors import InputError
from nightgate.measure.child import Interpreter


class Project:
    """A checkout with a few commits. ``seen``: what `git` calls each of them, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, list[str]()
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        (folder / "pyproject.toml").write_text('[project]\nname = "nightgate"\nversion = "0.1.0"\n')
        for subject, name, text in (
            ("begun", "include/nightgate/work.py", "A = 1\n"),
            ("slower", "include/nightgate/work.py", "A = 2\n"),
            ("told of", "README.md", "it is slower\n"),
            ("more", "include/nightgate/more.py", "B = 1\n"),
            ("most", "include/nightgate/work.py", "A = 3\n"),
        ):
            self.commit(subject, name, text)

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@here")
        done = subprocess.run(["git", "-C", str(self.folder), *who, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, subject: str, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", subject)
        self.seen.append(self.git("rev-parse", "--short=12", "HEAD"))

    def lock(self, place: int, kept: Path, **more: str) -> Lock:
        """What was installed where the code of that commit ran."""
        package = code.of_revision(kept, self.folder, self.seen[place]) / "nightgate"
        return Lock(python="3.11.7", packages={"alpha": "1.0"} | more, code=code._digest(package), version="0.1.0",
                    revision=self.seen[place])  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    made = Project(tmp_path / "project")
    monkeypatch.setattr(paths, "checkout", lambda: made.folder)
    monkeypatch.setattr(build, "packages", lambda cache, versions: Path(*sorted(versions.items())[0]))
    return made


@pytest.fixture
def kept(project):
    return build.code_folder(paths.home())


def test_commits_that_changed_the_code_are_changes_in_their_order(project, kept):
    found = Between.of(project.lock(0, kept), project.lock(4, kept, alpha="1.1"))
    named = [project.seen[place] for place in (1, 3, 4)]
    assert found.changes == {
        "alpha": ("1.0", "1.1"), f"commit {named[0]}": (None, "slower"), f"commit {named[1]}": (None, "more"),
        f"commit {named[2]}": (None, "most"),
    }  # fmt: skip
    assert list(found.changes)[1:] == [f"commit {one}" for one in named]


def test_code_that_was_not_committed_is_one_change(project, kept):
    first, last = project.lock(0, kept), project.lock(4, kept)
    for good, bad in (
        (first, last.model_copy(update={"code": "0123456789ab"})),
        (first.model_copy(update={"code": "0123456789ab"}), last),
        (first, last.model_copy(update={"revision": None})),
        (first, last.model_copy(update={"revision": "ffffffffffff"})),
        (last, first),  # they lead from one to the other on no line
    ):
        assert list(Between.of(good, bad).changes) == ["nightgate"]


def test_the_same_code_has_no_commits(project, kept):
    assert Between.of(project.lock(1, kept), project.lock(2, kept)).changes == {}


def test_outside_a_checkout_the_code_is_one_change(project, kept, monkeypatch):
    good, bad = project.lock(0, kept), project.lock(4, kept)
    monkeypatch.setattr(paths, "checkout", lambda: None)
    assert list(Between.of(good, bad).changes) == ["nightgate"]


def test_the_second_side_has_the_code_of_the_last_commit_that_is_asked(project, kept):
    between = Between.of(project.lock(0, kept), project.lock(4, kept, alpha="1.1"))
    names, start = tuple(between.changes), Interpreter("python", (kept / "good", Path("packages")))
    first, second = between.sides(start, names[:1])
    assert (first, second.path) == (start, (Path("alpha", "1.1"), *start.path))
    first, second = between.sides(start, names[:3])
    assert first == start
    assert second.path == (kept / f"rev-{project.seen[3]}", Path("alpha", "1.1"), *start.path)
    assert (second.path[0] / "nightgate" / "more.py").exists()


def test_a_commit_by_itself_is_measured_beside_the_one_before_it(project, kept):
    between = Between.of(project.lock(0, kept), project.lock(4, kept))
    names, start = tuple(between.changes), Interpreter("python", (kept / "good",))
    first, second = between.sides(start, names[1:2])
    assert (first.path[0], second.path[0]) == (kept / f"rev-{project.seen[1]}", kept / f"rev-{project.seen[3]}")
    first, second = between.sides(start, names[:1])
    assert (first, second.path[0]) == (start, kept / f"rev-{project.seen[1]}")


def test_code_that_is_one_change_is_taken_whole(project, kept):
    good, bad = project.lock(0, kept), project.lock(4, kept).model_copy(update={"revision": None})
    start = Interpreter("python", (kept / "good",))
    assert Between.of(good, bad).sides(start, ("nightgate",))[1].path == (kept / bad.code, *start.path)


def test_what_is_no_part_of_a_measurement_is_no_part_of_the_digest(tmp_path):
    for name in ("work.py", "dags/nightly.py", "word.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("A = 1\n")
    before = code._digest(tmp_path)
    (tmp_path / "dags" / "nightly.py").write_text("A = 2\n")
    (tmp_path / "word.txt").write_text("another\n")
    assert code._digest(tmp_path) == before
    (tmp_path / "work.py").write_text("A = 2\n")
    assert code._digest(tmp_path) != before


@pytest.fixture
def here(monkeypatch):
    """What is installed, and what an environment would be started with."""
    lock = Lock(python="3.11.7", packages={}, code="c0", version="0.1.0")
    monkeypatch.setattr(sides, "here", lambda: lock)
    monkeypatch.setattr(
        build, "interpreter",
        lambda cache, home, of: Interpreter(f"{cache.root.name} {home.name} {of.code}", (Path("own"), Path("packages"))),
    )  # fmt: skip
    return lock


def test_a_side_of_other_packages(project, here):
    found = side_of("usearch==2.1, Open_AI==3", lambda run: pytest.fail("it names no run"))
    assert found.python == f"{paths.cache_dir().name} home c0"
    assert found.path == (Path("open-ai", "3"), Path("usearch", "2.1"), Path("own"), Path("packages"))


def test_a_side_of_another_revision(project, here, kept):
    found = side_of(f"rev:{project.seen[1]}", lambda run: pytest.fail("it names no run"))
    assert found.python == f"{paths.cache_dir().name} home c0"
    assert found.path == (kept / f"rev-{project.seen[1]}", Path("packages"))


def test_a_side_of_what_a_run_had(project, here):
    asked = []
    found = side_of("night-7", lambda run: asked.append(run) or here.model_copy(update={"code": "c7"}))
    assert (asked, found.python) == (["night-7"], f"{paths.cache_dir().name} home c7")


def test_what_is_wrong_with_a_side_is_said_with_the_next_step(project, here, monkeypatch):
    with pytest.raises(InputError) as caught:
        side_of("usearch==2.1,numpy=2", lambda run: None)
    assert (caught.value.what, caught.value.next_step) == (
        "'numpy=2' is not package==version",
        f"write one of {sides.SAID}",
    )
    monkeypatch.setattr(paths, "checkout", lambda: None)
    with pytest.raises(InputError) as caught:
        side_of("rev:HEAD", lambda run: None)
    assert (caught.value.what, caught.value.next_step) == (
        "this Nightgate is no checkout, so it has no revisions", "name a run, or packages",
    )  # fmt: skip


def test_a_search_is_kept_by_its_key(project):
    assert sides.bisect_file("abc") == paths.home() / "bisects" / "abc.json"
