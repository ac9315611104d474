"""The parts of a classic dashboard that the checks read.

What is read has these types; whatever else a dashboard holds is Grafana's. A datasource may be written in several ways,
and each kind of datasource has keys of its own in a target, so both stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from nightgate.errors import InputError
from nightgate.publish.jsonvalue import JsonObject

_TYPES = {
    "model_type": "an object",
    "dict_type": "an object",
    "list_type": "a list",
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
}
"""What pydantic finds missing, in words."""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Variable(_Shape):
    name: str | None = None
    type: str | None = None
    datasource: object = None


class Annotation(_Shape):
    name: object = None
    datasource: object = None


class _Annotations(_Shape):
    entries: list[Annotation] | None = Field(default=None, alias="list")


class _Variables(_Shape):
    entries: list[Variable] | None = Field(default=None, alias="list")


class _Defaults(_Shape):
    unit: str | None = None


class _FieldConfig(_Shape):
    defaults: _Defaults | None = None


class Place(_Shape):
    """Of a panel, in columns and rows: height, width, and the upper left corner."""

    h: float | None = None
    w: float | None = None
    x: float | None = None
    y: float | None = None


class Panel(_Shape):
    id: int | None = None
    type: str | None = None
    title: str | None = None
    description: str | None = None
    datasource: object = None
    targets: list[dict[str, object]] | None = None
    fieldConfig: _FieldConfig | None = None
    gridPos: Place | None = None
    libraryPanel: dict[str, object] | None = None
    panels: list[Panel] | None = None

    @property
    def unit(self) -> str | None:
        defaults = self.fieldConfig.defaults if self.fieldConfig else None
        return defaults.unit if defaults else None


class Board(_Shape):
    id: object = ""
    title: str | None = None
    uid: str | None = None
    tags: list[str] | None = None
    templating: _Variables | None = None
    annotations: _Annotations | None = None
    panels: list[Panel] | None = None

    @property
    def variables(self) -> list[Variable]:
        return (self.templating.entries if self.templating else None) or []

    @property
    def annotation_queries(self) -> list[Annotation]:
        return (self.annotations.entries if self.annotations else None) or []

    @property
    def sources(self) -> set[str]:
        """The names of the datasource variables."""
        return {each.name for each in self.variables if each.type == "datasource" and each.name}

    def every_panel(self) -> Iterator[Panel]:
        """Every panel, rows and those inside collapsed rows included."""
        return _every_panel(self.panels)


def board(document: JsonObject) -> Board:
    """The parts of ``document`` that are read.

    Raises:
        WrongTypes: a part of it has another type than Grafana's.
    """
    try:
        return Board.model_validate(document)
    except ValidationError as error:
        raise WrongTypes(list(dict.fromkeys(_wrong_type(each) for each in error.errors(include_url=False)))) from None


class WrongTypes(InputError):
    """``sentences``: what has the wrong type, one each."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("; ".join(sentences))
        self.sentences = sentences


def _every_panel(panels: list[Panel] | None) -> Iterator[Panel]:
    for panel in panels or []:
        yield panel
        yield from _every_panel(panel.panels)


def _wrong_type(error: ErrorDetails) -> str:
    names = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]]
    return f"its {''.join(names).lstrip('.')} must be {_TYPES.get(error['type'], 'of another type')}"
