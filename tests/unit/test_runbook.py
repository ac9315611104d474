"""Every alert leads to its runbook."""

from __future__ import annotations

from pathlib import Path

import yaml

from nightgate.web import runbook

RULES = Path(__file__).resolve().parents[2] / "dashboards/rules/nightgate.yml"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    rules = [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule
    ]
    page = runbook.html()
    for rule in rules:
        anchor = rule["alert"].lower()
        assert rule["annotations"]["runbook_url"] == "{{ $externalLabels.board }}/runbooks#" + anchor
        assert f'<h2 id="{anchor}">{rule["alert"]}</h2>' in page
    assert page.count("<h2") == len(rules)


def test_the_board_has_no_links_to_files_that_only_the_project_has():
    assert "../" not in runbook.html()
    assert "dashboards/rules/nightgate.yml" in runbook.html()
