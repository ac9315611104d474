"""What a person sees in a terminal: the progress of a run, tables of verdicts, the last line."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

_WIDTH_OF_A_PIPE = 10_000


def console(*, stderr: bool = False) -> Console:
    """A console that puts every row on one line when the output is a file or a pipe, where rich would assume 80 columns.

    No text is markup: ``exclude=[a]`` in a message is to be pasted, and a path in brackets is no closing tag.
    """
    plain = Console(stderr=stderr, markup=False)
    return plain if plain.is_terminal else Console(stderr=stderr, markup=False, width=_WIDTH_OF_A_PIPE)


@contextmanager
def ends_like_ctrl_c(*numbers: signal.Signals) -> Iterator[None]:
    """These signals raise KeyboardInterrupt, so that what stands on a server is removed; one that is ignored (nohup) stays so."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def log_to(screen: Console) -> None:
    """What is logged goes to ``screen``: with the time where somebody looks, plain where a program reads."""
    handler: logging.Handler = logging.StreamHandler(screen.file)
    if screen.is_terminal:
        from rich.logging import RichHandler

        handler = RichHandler(console=screen, show_path=False, show_level=False, markup=False, highlighter=None)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
