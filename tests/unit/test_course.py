"""The course of a metric over the nights, as a picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from nightgate.publish.charts import Night, course, spark


def night(day, value, **more):
    facts = {"low": value * 0.98, "high": value * 1.02, "limit": 0.030, "verdict": "pass", "to": f"runs/n{day}"} | more
    return Night(at=f"2026-11-{day:02d}T02:00:00Z", value=value, **{"label": f"night {day}: {value}"} | facts)


NIGHTS = [night(1, 0.020), night(2, 0.022), night(3, 0.028), night(5, 0.031, verdict="breach")]


def parsed(text):
    return ElementTree.fromstring(text)


def of_class(tree, name):
    return [one for one in tree.iter() if name in one.get("class", "").split()]


def heights(tree, name="dot"):
    return [float(one.get("cy")) for one in of_class(tree, name)]


def test_a_point_is_higher_the_larger_its_value_and_further_right_the_later_its_night():
    tree = parsed(course(NIGHTS, "seconds", "P95 over 4 nights"))
    y = heights(tree)
    assert y == sorted(y, reverse=True) and len(set(y)) == 4
    x = [float(one.get("cx")) for one in of_class(tree, "dot")]
    assert x == sorted(x) and len(set(x)) == 4
    third, fourth = y[2:]
    (limit,) = of_class(tree, "limit")
    at = {float(pair.split(",")[1]) for pair in re.findall(r"[\d.]+,[\d.]+", limit.get("d"))}
    assert len(at) == 1 and fourth < at.pop() < third, "28 ms lies under the limit of 30, 31 above"
    assert [one.get("class") for one in of_class(tree, "dot")] == ["dot pass"] * 3 + ["dot breach"]


def test_each_night_is_a_link_with_its_facts():
    tree = parsed(course(NIGHTS, "seconds", "P95 & more"))
    links = [one for one in tree.iter() if one.tag == "a"]
    assert [(one.get("href"), one.get("aria-label")) for one in links] == [(n.to, n.label) for n in NIGHTS]
    assert [one.text for one in tree.iter() if one.tag == "title"] == [n.label for n in NIGHTS]
    assert tree.get("aria-label") == "P95 & more"
    alone = parsed(course([night(1, 0.02, to=None)], "seconds", "t"))
    assert [one.get("tabindex") for one in alone.iter() if one.tag == "a"] == ["0"], (
        "a keyboard reaches it all the same"
    )


def test_the_axis_says_values_one_can_say_and_the_days():
    texts = [one.text for one in parsed(course(NIGHTS, "seconds", "t")).iter() if one.tag == "text"]
    assert [text for text in texts if text.endswith("ms")] == ["20 ms", "25 ms", "30 ms"]
    assert [text for text in texts if text.endswith("Nov")] == ["1 Nov", "2 Nov", "3 Nov", "5 Nov"]


@pytest.mark.parametrize(("limit", "where"), [(0.5, "above"), (0.001, "below")])
def test_a_limit_far_away_is_said_and_flattens_nothing(limit, where):
    nights = [night(day, 0.020 + day / 1000, limit=limit) for day in (1, 2, 3)]
    tree = parsed(course(nights, "seconds", "t"))
    (said,) = of_class(tree, "limit-text")
    assert where in said.text and "the limit, " in said.text
    y = heights(tree)
    assert max(y) - min(y) > 100
    assert not of_class(parsed(course(NIGHTS, "seconds", "t")), "limit-text")


def test_a_limit_that_was_far_away_before_it_changed_is_said_where_it_ends():
    """Drawn along the edge without a word it looked like a limit of 30 ms."""
    nights = [night(day, 0.020, limit=0.5 if day < 6 else 0.019) for day in range(1, 9)]
    (said,) = of_class(parsed(course(nights, "seconds", "t")), "limit-text")
    assert said.text == "the limit, 500 ms, lies above this picture"
    assert float(said.get("x")) == pytest.approx(72 + 5 / 8 * 874, abs=0.1)
    nights = [night(day, 0.020, limit=0.5 if day < 2 else 0.001) for day in range(1, 9)]
    texts = of_class(parsed(course(nights, "seconds", "t")), "limit-text")
    assert [(one.text.split(", ")[1], float(one.get("x"))) for one in texts] == [("500 ms", 72.0), ("1 ms", 946.0)]


def test_the_limit_makes_a_step_on_the_night_it_changed():
    wide = {"low": 0.016, "high": 0.024}
    nights = [night(1, 0.02, **wide), night(2, 0.02), night(3, 0.02, limit=0.025), night(4, 0.02, limit=None)]
    (path,) = of_class(parsed(course(nights, "seconds", "t")), "limit")
    at = [float(pair.split(",")[1]) for pair in re.findall(r"[\d.]+,[\d.]+", path.get("d"))]
    assert len(at) == 6 and at[:4] == [at[0]] * 4 and at[4] == at[5] > at[0]


def test_what_does_not_count_is_hollow_or_crossed_and_not_on_the_line():
    nights = [night(1, 0.02), night(2, 0.09, hollow=True), night(3, 0.08, excluded=True), night(4, 0.021)]
    tree = parsed(course(nights, "seconds", "t"))
    assert [one.get("class").split()[1] for one in of_class(tree, "dot")] == ["pass", "hollow", "excluded", "pass"]
    (line,) = of_class(tree, "line")
    assert len(re.findall(r"[\d.]+,[\d.]+", line.get("d"))) == 2


def test_another_version_and_a_new_baseline_are_marked():
    nights = [night(1, 0.02), night(2, 0.021, changed="faiss 1.14 → 1.15"), night(3, 0.02, accepted=True)]
    tree = parsed(course(nights, "seconds", "t"))
    (changed,) = of_class(tree, "changed")
    assert changed[0].text == "faiss 1.14 → 1.15"
    assert [one.text for one in tree.iter() if one.tag == "text" and one.text == "new baseline"]


def test_a_night_without_an_interval_breaks_the_area():
    nights = [night(1, 0.02), night(2, 0.021), night(3, 0.022, low=None, high=None), night(4, 0.02)]
    tree = parsed(spark(nights, "P95"))
    assert (len(of_class(tree, "band")), len(of_class(tree, "whisker"))) == (1, 1)


def test_a_small_one_marks_its_last_night_and_what_stands_out():
    tree = parsed(spark([night(1, 0.02), night(2, 0.031, verdict="breach"), night(3, 0.02)], "P95 over 3 nights"))
    assert [one.get("class") for one in of_class(tree, "dot")] == ["dot breach", "dot pass"]
    assert (tree.get("role"), tree.get("aria-label")) == ("img", "P95 over 3 nights")
    assert spark([], "nothing") == ""


@pytest.mark.parametrize("values", [[0.0, 0.0], [0.95, 0.95], [7.0], [1e-9, 1e-9]])
def test_a_series_that_does_not_move_is_a_picture_too(values):
    nights = [night(day, value, low=None, high=None, limit=None) for day, value in enumerate(values, start=1)]
    for text in (spark(nights, "t"), course(nights, "ratio", "t")):
        assert "nan" not in text and "inf" not in text
        assert len(of_class(parsed(text), "dot")) >= 1


def test_what_a_night_is_called_is_text():
    text = course([night(1, 0.02, label="<script>", to='runs/"><b>')], "seconds", '"><script>')
    assert "<script>" not in text and 'runs/"' not in text
