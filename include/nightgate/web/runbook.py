"""The runbooks, from the same file that the documentation shows."""

from __future__ import annotations

import re
from pathlib import Path

_TEXT = Path(__file__).with_name("runbooks.md")
_LINK = re.compile(r"\[([^]]*)\]\(\.\./[^)]*\)")  # to a file of the project, which the board does not have


def html() -> str:
    """The page, with an anchor for each alert: its name in lower case."""
    from markdown_it import MarkdownIt

    made: str = MarkdownIt().render(_LINK.sub(r"\1", _TEXT.read_text()))
    return re.sub(r"<h2>(\w+)</h2>", lambda found: f'<h2 id="{found[1].lower()}">{found[1]}</h2>', made)
