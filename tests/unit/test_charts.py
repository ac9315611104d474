"""The chart of recall and latency: its front, its axis, its names, and the goals it draws or only points to."""

from __future__ import annotations

import itertools
import re
import warnings

import numpy as np
import pytest

from nightgate.publish.charts import Curve, Series, pareto_front, quantiles, tradeoff
from nightgate.publish.charts.tradeoff import stretched, ticks


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(0.9, 1.0)], [(0.9, 1.0)]),
        ([(0.95, 2.0), (0.9, 1.0)], [(0.9, 1.0), (0.95, 2.0)]),
        ([(0.9, 1.0), (0.8, 1.5)], [(0.9, 1.0)]),  # slower and worse
        ([(0.9, 1.0), (0.9, 2.0)], [(0.9, 1.0)]),  # as good, slower
        ([(0.9, 1.0), (0.8, 1.0)], [(0.9, 1.0)]),  # as fast, worse
        ([(0.9, 1.0), (0.9, 1.0)], [(0.9, 1.0)]),
        ([(0.8, 1.0), (0.85, 3.0), (0.9, 2.0), (0.99, 2.5)], [(0.8, 1.0), (0.9, 2.0), (0.99, 2.5)]),
    ],
)
def test_the_front_holds_what_nothing_beats(points, front):
    for order in itertools.permutations(points):
        assert pareto_front(order) == front


def test_the_front_of_many_points_is_that_of_the_definition():
    rng = np.random.default_rng(5)
    points = [(int(r) / 20, float(t)) for r, t in rng.integers(0, 20, (300, 2))]

    def beaten(one):
        return any(o[0] >= one[0] and o[1] <= one[1] and o != one for o in points)

    assert pareto_front(points) == sorted({point for point in points if not beaten(point)})


def test_the_recall_axis_stretches_towards_one_and_holds_it():
    assert stretched(1.0) == 1.0
    assert stretched(0.99) - stretched(0.98) > 3 * (stretched(0.52) - stretched(0.51))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.3, 0.99), (0.78, 0.999), (0.9, 0.97), (0.98, 1.0)])
def test_the_ticks_of_the_recall_axis_are_few_and_apart(low, high):
    left, right = stretched(low), stretched(high)
    shown = ticks(left, right)
    assert 3 <= len(shown) <= 12
    assert low <= shown[0]
    assert shown[-1] <= high
    assert np.diff(stretched(np.array(shown))).min() >= 0.07 * (right - left)


def curve(name, place=0, times=1.0, chosen=1, gated=False):
    points = [(0.85, 0.5e-3 * times), (0.94, 1e-3 * times), (0.98, 2e-3 * times), (0.99, 4e-3 * times)]
    return Curve(name, points, points[chosen] if chosen is not None else None, gated, place)


def texts(svg):
    """What an SVG says: text → its position in points."""
    found = re.findall(r"<text ([^>]*)>([^<]*)</text>", svg)
    at = [re.search(r'(?:translate\(|x=")([-\d.]+)(?:" y="| )([-\d.]+)', attributes) for attributes, _ in found]
    return {text: (float(place[1]), float(place[2])) for place, (_, text) in zip(at, found, strict=True) if place}


def strokes(svg, role):
    return len(re.findall(rf"stroke: var\(--{role}\)", svg))


def test_every_variant_is_named_and_what_was_chosen_marked():
    svg = tradeoff([curve("hybrid", gated=True), curve("hnsw", 1, 1.3)], 0.92, 0.02)
    assert {"hybrid", "hnsw", "recall target 0.92"} <= set(texts(svg))
    assert "P95 limit" in svg
    marks = svg.count("stroke: var(--card)")  # the rim of a mark
    assert (
        tradeoff([curve("hybrid", gated=True), curve("hnsw", 1, 1.3, chosen=None)], 0.92, 0.02).count(
            "stroke: var(--card)"
        )
        < marks
    )
    assert "hnsw" in texts(tradeoff([curve("hnsw", chosen=None)], None, None))


def test_names_keep_apart_where_the_choices_meet():
    names = ["hybrid", "hnsw", "ivfpq_refine", "hnswlib", "usearch", "faiss_hnsw"]
    svg = tradeoff([curve(name, place, 1 + place / 50) for place, name in enumerate(names)], 0.92, 0.02)
    at = {name: np.array(place) for name, place in texts(svg).items() if name in names}
    assert len(at) == len(names)
    for one, other in itertools.combinations(at, 2):
        (left, x), (right, y) = sorted([(at[one][0], one), (at[other][0], other)])
        apart = abs(at[one][1] - at[other][1]) >= 9 or left + 4 * len(x) <= right
        assert apart, f"{x} and {y}"


@pytest.mark.parametrize(
    ("limit", "drawn", "said"),
    [(0.005, True, "P95 limit 5 ms"), (0.02, False, "P95 limit 20 ms ↑"), (1e-5, False, "P95 limit 10 µs ↓")],
)
def test_a_limit_is_a_line_only_where_it_is_near(limit, drawn, said):
    svg = tradeoff([curve("hybrid")], 0.92, limit)
    assert said in texts(svg)
    assert (strokes(svg, "breach") > 0) is drawn


def test_the_target_stands_where_its_recall_is():
    at = texts(tradeoff([curve("hybrid")], 0.95, None))
    assert at["recall target 0.95"][0] == pytest.approx(at["0.95"][0], abs=1)


def test_a_target_that_no_setting_reaches_is_in_sight():
    at = texts(tradeoff([curve("hybrid", chosen=3)], 0.999, None))
    assert at["0.99"][0] + 20 < at["recall target 0.999"][0] < 7.6 * 72
    assert not any("limit" in text for text in at)


@pytest.mark.parametrize("points", [[(0.95, 0.002)], [(1.0, 0.002), (1.0, 0.003)], [(0.0, 0.002), (0.9, 0.002)]])
def test_few_points_and_the_ends_of_the_scale_are_drawn_without_a_warning(points):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "hybrid" in tradeoff([Curve("hybrid", points, points[0], True, 0)], 0.92, 0.02)


def test_a_variant_has_its_colour_by_its_place_in_every_chart():
    assert strokes(tradeoff([curve("hnsw", 2)], None, None), "c3")
    assert strokes(quantiles([Series("hnsw", np.array([1.0, 2.0, 3.0]), False, 2)], None), "c3")
