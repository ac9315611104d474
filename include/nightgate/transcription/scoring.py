"""Word error rate, after a normalisation that takes away what speech does not carry."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CONTRACTIONS = (
    (r"\bcan't\b", "cannot"), (r"\bwon't\b", "will not"), (r"\bshan't\b", "shall not"), (r"n't\b", " not"),
    (r"\blet's\b", "let us"), (r"\bit's\b", "it is"), (r"\bthat's\b", "that is"), (r"'re\b", " are"),
    (r"'ve\b", " have"), (r"'ll\b", " will"), (r"'m\b", " am"),
)  # fmt: skip


def normalise(text: str) -> str:
    """Lower case, common contractions spelt out, no punctuation, single spaces.

    A possessive keeps its letters ("nation's" becomes "nations"), a hyphen becomes a space.
    """
    text = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    for pattern, words in _CONTRACTIONS:
        text = re.sub(pattern, words, text)
    text = re.sub(r"[^\w\s]", " ", text.replace("'", ""))
    return " ".join(text.replace("_", " ").split())


def wer(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[float, int]:
    """Word errors over reference words of the whole set, which is not the mean of the clips' rates.

    Returns:
        the rate, a ratio from 0 (it can exceed 1), and the number of reference words.

    Raises:
        ValueError: as many hypotheses as references are needed, and a reference must hold words.
    """
    import jiwer

    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses")
    truth = [normalise(text) for text in references]
    if not truth or not all(truth):
        raise ValueError("a reference without words cannot be scored")
    words = sum(len(text.split()) for text in truth)
    return float(jiwer.wer(truth, [normalise(text) for text in hypotheses])), words
