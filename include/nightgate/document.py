"""A YAML file as a mapping, with the line of every key, so that an error can name the place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nightgate.errors import InputError, choices, nearest

Path_ = tuple[str, ...]

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_OTHER_BASE = re.compile(r"[-+]?0[0-9_]|[^:]*:")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its numbers in base 8 and 60: nobody who writes 0100 or 1:30 means 64 or 90."""

    def construct_number(self, node: yaml.ScalarNode) -> str | int | float:
        written = str(self.construct_scalar(node))  # refuses a list or a mapping that is tagged as a number
        if _OTHER_BASE.match(written):
            return written
        return self.construct_yaml_int(node) if node.tag == _INT else self.construct_yaml_float(node)


for _tag in (_INT, _FLOAT):
    _Loader.add_constructor(_tag, _Loader.construct_number)


def loads(text: str) -> Any:
    """What a YAML text says. YAMLError: it is none."""
    return yaml.load(text, Loader=_Loader)


class Where:
    """Names the place of a value for an error message: ``nightly.yaml line 12``."""

    def __init__(self, file: Path, lines: Mapping[Path_, int]) -> None:
        self.file, self.lines = file, lines

    def __call__(self, *paths: Path_) -> str:
        line = next((self.lines[path] for path in paths if path in self.lines), None)
        return f"{self.file.name} line {line}" if line else self.file.name


def read(file: Path) -> tuple[dict[Any, Any], Where]:
    """The mapping in ``file``, and where its keys stand.

    Raises:
        InputError: it cannot be read, is no YAML or no mapping, or has a key twice.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise InputError(f"the suite {file} cannot be read ({reason})") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = loads(text)
    except yaml.YAMLError as error:
        raise InputError(f"the suite {file} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"the suite {file} must be a mapping with the keys schema_version, objectives, …")
    lines: dict[Path_, int] = {}
    _note_lines(root, (), lines, file)
    return document, Where(file, lines)


def check_keys(
    mapping: Any, valid: Sequence[str], path: Path_, where: Where, say: Callable[[Sequence[str]], str] = choices
) -> None:
    """Refuse a key that is not among ``valid``, with its line and the nearest one that is. ``say`` lists the valid ones."""
    name = ".".join(path) or "the suite"
    if not isinstance(mapping, dict):
        raise InputError(f"{where(path)}: {name} must be a mapping of {', '.join(valid)}")
    for key in mapping:
        if key not in valid:
            place = where((*path, str(key)))
            raise InputError(f"{place}: {name} has no key {key!r}{nearest(str(key), valid)}", say(valid))


def _note_lines(node: yaml.Node | None, path: Path_, lines: dict[Path_, int], file: Path) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        here = (*path, str(key.value))
        line = key.start_mark.line + 1
        if here in lines and str(key.value) != "<<":  # YAML itself would take the last one without a word
            raise InputError(
                f"{file.name} line {line}: {'.'.join(here)} stands on line {lines[here]} already", "keep one of them"
            )
        lines[here] = line
        _note_lines(value, here, lines, file)
