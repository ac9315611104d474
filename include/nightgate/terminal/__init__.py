"""What a person sees in a terminal: the progress of a run, tables of verdicts, the last line."""

from __future__ import annotations

from rich.console import Console

_WIDTH_OF_A_PIPE = 150


def console(*, stderr: bool = False) -> Console:
    """A console that keeps its tables whole when the output is a file or a pipe, where rich would assume 80 columns.

    No text is markup: ``exclude=[a]`` in a message is to be pasted, and a path in brackets is no closing tag.
    """
    plain = Console(stderr=stderr, markup=False)
    return plain if plain.is_terminal else Console(stderr=stderr, markup=False, width=_WIDTH_OF_A_PIPE)
