"""What others send may lack anything, or have it in another type: it is passed over and never an error of ours."""

from __future__ import annotations

import pytest

from nightgate.publish.jsonvalue import part, parts, texts

WHOLE = {
    "object": {"a": 1},
    "array": [{"b": 2}, 3, "four", None, ["five"], {"c": 6}, "seven"],
    "text": "t",
    "null": None,
}


@pytest.mark.parametrize(
    ("key", "one", "objects", "words"),
    [
        ("object", {"a": 1}, [], []),
        ("array", {}, [{"b": 2}, {"c": 6}], ["four", "seven"]),
        ("text", {}, [], []),
        ("null", {}, [], []),
        ("missing", {}, [], []),
    ],
)
def test_what_has_another_type_is_passed_over(key, one, objects, words):
    assert (part(WHOLE, key), parts(WHOLE, key), texts(WHOLE, key)) == (one, objects, words)
