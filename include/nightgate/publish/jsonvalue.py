"""JSON of others, such as a dashboard or an answer of Grafana: any part of it may be missing, or of another type."""

from __future__ import annotations

from pydantic import JsonValue

JsonObject = dict[str, JsonValue]


def part(whole: JsonObject, key: str) -> JsonObject:
    """The object under a key; an empty one when there is none."""
    value = whole.get(key)
    return value if isinstance(value, dict) else {}


def parts(whole: JsonObject, key: str) -> list[JsonObject]:
    """The objects in the array under a key; empty when there is none."""
    value = whole.get(key)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def texts(whole: JsonObject, key: str) -> list[str]:
    """The texts in the array under a key; empty when there is none."""
    value = whole.get(key)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
