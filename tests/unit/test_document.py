"""A YAML file as a mapping: what a number is, and what is refused with its place."""

from __future__ import annotations

import pytest

from nightgate import document
from nightgate.errors import InputError


@pytest.mark.parametrize(
    ("written", "value"),
    [("12", 12), ("1.5", 1.5), ("-3", -3), ("0100", "0100"), ("1:30", "1:30"), ("0", 0)],
)
def test_no_number_is_in_base_8_or_60(written, value):
    loaded = document.loads(f"key: {written}")["key"]
    assert loaded == value and type(loaded) is type(value)


@pytest.mark.parametrize("text", ["key: !!int [1, 2]", "key: !!float {a: 1}"])
def test_what_is_tagged_as_a_number_and_is_none_is_refused(tmp_path, text):
    file = tmp_path / "suite.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"suite\.yaml is not valid YAML: expected a scalar node"):
        document.read(file)
