"""What is remembered of a host."""

from __future__ import annotations

import pytest

from nightgate.measure import known_host
from nightgate.measure.known_host import Known


def known(number, **changed):
    return Known(
        **{"at": f"night {number}", "cpu": 0.004 + number, "fastest": 0.003, "memory": 5e9, "cache": 2e-9} | changed
    )


@pytest.fixture
def file(tmp_path):
    return known_host.file_of(tmp_path, "abc")


def test_each_host_has_a_file_of_its_own(tmp_path):
    assert known_host.file_of(tmp_path, "abc") == tmp_path / "hosts" / "abc.jsonl"


def test_what_is_added_is_read_again_oldest_first(file):
    assert known_host.read(file) == []
    known_host.add(file, [], known(1))
    known_host.add(file, known_host.read(file), known(2))
    assert known_host.read(file) == [known(1), known(2)]
    assert [path.name for path in file.parent.iterdir()] == ["abc.jsonl"]


def test_the_newest_sixty_are_kept(file):
    known_host.add(file, [known(number) for number in range(61)], known(61))
    assert [one.at for one in known_host.read(file)] == [f"night {number}" for number in range(2, 62)]


@pytest.mark.parametrize(
    "line",
    ["{", "", "[]", '{"at": "x"}', '{"at": "x", "cpu": "fast", "fastest": 1, "memory": 1, "cache": 1}', "\x00\xff"],
)
def test_a_corrupt_line_is_skipped_and_said(file, line, caplog):
    known_host.add(file, [known(1)], known(2))
    first, second = file.read_text().splitlines()
    file.write_text(f"{first}\n{line}\n{second}\n", encoding="latin-1")
    assert known_host.read(file) == [known(1), known(2)]
    assert f"{file}, line 2 cannot be read" in caplog.text


def test_what_a_later_version_adds_is_no_fault(file):
    known_host.add(file, [], known(1))
    file.write_text(file.read_text().replace("{", '{"gpu": 3, ', 1))
    assert known_host.read(file) == [known(1)]


def test_a_file_that_cannot_be_read_or_written_loses_no_measurement(tmp_path, caplog):
    file = known_host.file_of(tmp_path, "abc")
    file.mkdir(parents=True)
    assert known_host.read(file) == []
    known_host.add(file, [], known(1))
    assert "cannot be read" in caplog.text and "cannot be written" in caplog.text
    assert file.is_dir() and [path.name for path in file.parent.iterdir()] == ["abc.jsonl"]
