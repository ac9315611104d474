"""What a panel asks, and of which datasource.

Grafana writes a datasource in four ways: nothing (its default one), a name (before 8.3), ``{"type", "uid"}``, and a
variable in place of the name or the uid. Some uids are Grafana's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nightgate.publish.boardmodel import Panel

_WITHOUT = ("row", "text", "dashlist", "news", "alertlist", "annolist", "pluginlist", "welcome", "gettingstarted")
"""The panels that ask no datasource."""

_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)(?::\w+)?\]\]")
_MIXED, _GRAFANA, _DASHBOARD = "-- Mixed --", "-- Grafana --", "-- Dashboard --"
_EXPRESSION = "__expr__"
_PROMETHEUS = (None, "", "prometheus", "loki")
_ITS_OWN = {"refId", "datasource", "datasourceUid", "hide", "key"}  # keys of a target that ask nothing


def asks(panel: Panel) -> bool:
    """Whether a panel shows the answers of a datasource: it has targets, or is of a kind that needs them."""
    return panel.type not in _WITHOUT and not panel.libraryPanel


def problems(panel: Panel, name: str, sources: set[str], ids: set[int | None]) -> Iterator[str]:
    """What is wrong with the datasources and targets of a panel, a sentence each.

    Args:
        name: what the panel is called in a sentence.
        sources: the names of the datasource variables of the dashboard.
        ids: the ids of its panels.
    """
    targets, own = panel.targets or [], panel.datasource
    if own is None:  # each target may name its own; what names none would ask the default one, whatever that is
        places = [target.get("datasource") for target in targets] or [None]
    elif _uid(own) == _MIXED:
        places = [target.get("datasource") for target in targets]
    else:
        places = [own, *(each for target in targets if (each := target.get("datasource")) is not None)]
    yield from dict.fromkeys(why for place in places if (why := _wrong(place, name, sources)))
    uid = _uid(own)
    if uid == _DASHBOARD:
        others = [each for each in ids if each not in (None, panel.id)]
        if not targets or not all(target.get("panelId") in others for target in targets):
            yield f"{name} shows the answers of a panel that the dashboard does not have"
    elif uid != _GRAFANA and (not targets or not all(_has_a_question(target, own) for target in targets)):
        yield f"{name} has no target, or one without an expression"


def problems_beside(datasource: object, name: str, sources: set[str]) -> Iterator[str]:
    """What is wrong with the datasource of a variable or an annotation query, a sentence each."""
    if why := _wrong(datasource, name, sources):
        yield why


def _uid(datasource: object) -> object:
    if not isinstance(datasource, dict):
        return datasource
    if datasource.get("uid") == "grafana" and datasource.get("type") in ("datasource", "grafana"):
        return _GRAFANA
    return datasource.get("uid")


def _wrong(datasource: object, name: str, sources: set[str]) -> str | None:
    if datasource is None:
        return f"{name} names no datasource, so it does not use the datasource variable but Grafana's default one"
    uid = _uid(datasource)
    if not isinstance(uid, str) or not uid:
        return f"{name} has a datasource without a name or uid, so it does not use the datasource variable"
    if uid in (_GRAFANA, _DASHBOARD, _EXPRESSION):
        return None
    match = _VARIABLE.fullmatch(uid)
    if not match:
        return f"{name} does not use the datasource variable: it names {uid!r}, which another Grafana does not have"
    variable = next(group for group in match.groups() if group)
    if variable not in sources:
        return f"{name} does not use the datasource variable: there is none called {variable!r}"
    return None


def _has_a_question(target: dict[str, object], own: object) -> bool:
    datasource = target.get("datasource") or own
    other = isinstance(datasource, dict) and datasource.get("type") not in _PROMETHEUS
    if other or _uid(datasource) in (_GRAFANA, _EXPRESSION):
        # each kind has its own name for it: rawSql, query, expression
        return any(target[key] for key in target.keys() - _ITS_OWN)
    return bool(target.get("expr"))
