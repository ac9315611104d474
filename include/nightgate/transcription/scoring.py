"""Word errors, counted after the normalisation that Whisper's own evaluation uses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def normalise(text: str) -> str:
    """Whisper's English normaliser (Radford et al., *Robust Speech Recognition via Large-Scale Weak Supervision*,
    2022, appendix C): lower case, contractions and numbers in one spelling, American spelling, no punctuation,
    nothing that stands in brackets."""
    return _normaliser()(text)


def says_something(text: str) -> bool:
    """Whether anything is left after normalisation that can be spoken (of "..." the normaliser leaves one stop)."""
    return any(character.isalnum() for character in normalise(text))


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Substitutions, deletions and insertions of each clip, and the words of its reference.

    The word error rate of the set is the sum of the first over the sum of the second, which is not the mean of the
    clips' rates.

    Returns:
        two int64 arrays, shape (clips,).

    Raises:
        ValueError: as many hypotheses as references are needed, and a reference must hold words.
    """
    import jiwer
    import numpy as np

    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses")
    truths = [normalise(text) for text in references]
    if not references or not all(says_something(text) for text in references):
        raise ValueError("a reference without words cannot be scored")
    errors, words = [], []
    for truth, heard in zip(truths, hypotheses, strict=True):
        found = jiwer.process_words(truth, normalise(heard))
        errors.append(found.substitutions + found.deletions + found.insertions)
        words.append(len(truth.split()))
    return np.array(errors, dtype=np.int64), np.array(words, dtype=np.int64)


@cache
def _normaliser() -> Any:
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()
