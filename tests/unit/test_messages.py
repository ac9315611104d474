"""What people are told, in four forms."""

from __future__ import annotations

import json

from nightgate.publish.messages import Message
from nightgate.results.alerts import News, Said

SLOWER = Said(
    sentence="P50 of hybrid is 9 % worse.",
    causes=("faiss-cpu 1.0 → 1.1", "kernel <6.1> → 6.2"),
    benchmark="hybrid_ann",
    ratio=1.09,
)
OVER = Said(sentence="xRT is 2.3, the limit 2.", causes=("never said again",))


def message(*news):
    return Message("nightly", "run-7", "http://board/runs/run-7?a=1&b=2", news)


def news(kind, said=SLOWER, over=False, number=1):
    return News(id=number, kind=kind, over=over, run_id="run-7", said=said)


BOTH = message(
    news("breach", OVER, over=True),
    news("regression", number=2),
    news("undecided", Said(sentence="Recall is undecided."), number=3),
)


def test_the_subject_counts_each_kind_the_gravest_first():
    assert BOTH.subject == "Nightgate nightly: 1 slower or worse than before, 1 undecided for nights, 1 holds again"
    assert message(news("breach"), news("breach", number=2)).subject == "Nightgate nightly: 2 breached"


def test_the_text_names_causes_of_what_is_wrong_and_of_nothing_else():
    assert BOTH.text() == (
        "Slower or worse than before\n\n- P50 of hybrid is 9 % worse.\n    probably: faiss-cpu 1.0 → 1.1\n    or: kernel <6.1> → 6.2\n\n"
        "Undecided for nights\n\n- Recall is undecided.\n\nHolds again\n\n- xRT is 2.3, the limit 2. That ended with run-7.\n\nhttp://board/runs/run-7?a=1&b=2\n"
    )


def test_markdown_is_a_list_under_headings():
    assert "### Holds again\n\n- xRT is 2.3, the limit 2. That ended with run-7.\n" in BOTH.markdown()
    assert "  - probably: faiss-cpu 1.0 → 1.1\n" in BOTH.markdown()
    assert BOTH.markdown().endswith("[run-7 on the board](http://board/runs/run-7?a=1&b=2)\n")


def test_html_escapes_what_libraries_call_themselves():
    assert "<li>kernel &lt;6.1&gt; → 6.2</li>" in BOTH.html()
    assert '<a href="http://board/runs/run-7?a=1&amp;b=2">' in BOTH.html()
    assert "never said again" not in BOTH.html()


def test_json_says_what_ended_and_of_what_kind_it_was():
    told = json.loads(json.dumps(BOTH.json()))
    assert (told["suite"], told["run_id"], told["schema_version"]) == ("nightly", "run-7", 1)
    assert [(one["kind"], one["of"]) for one in told["news"]] == [
        ("recovery", "breach"),
        ("regression", "regression"),
        ("undecided", "undecided"),
    ]
    assert told["news"][1]["ratio"] == 1.09 and told["news"][1]["causes"][0] == "faiss-cpu 1.0 → 1.1"
    assert told["text"] == BOTH.text()
