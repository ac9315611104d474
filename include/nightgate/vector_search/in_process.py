"""A strategy as a subject: opened in the child's own memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.vector_search.session import Facts, Ids, Proof, Setting
from nightgate.vector_search.strategy import Strategy
from nightgate.vector_search.timed import Work
from nightgate.vectors.dataset import Dataset, open_dataset

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class InProcess:
    """``strategy`` over the indexes in ``folders``."""

    strategy: type[Strategy]
    folders: tuple[Path, ...]

    def encode(self, queries: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.array(queries)  # in memory, and not mapped

    def load(self, data: Dataset) -> Strategy:
        float(data.base[:, 0].sum())  # touch every page once, so that no query pays for reading the file
        return self.strategy.open(self.folders, data.base, data.metric)

    @contextmanager
    def open(self, data: Dataset, k: int) -> Iterator[InProcessSession]:
        yield InProcessSession(self.load(data), k)


class InProcessSession:
    """An open strategy as a `Session`."""

    def __init__(self, strategy: Strategy, k: int) -> None:
        self.strategy, self.settings = strategy, strategy.settings
        self.search = _bound(strategy.search, k)

    def check(self) -> None:
        pass

    def tune(self, setting: Setting, query: Any) -> None:
        self.strategy.tune(setting)

    def warm(self, base: np.ndarray) -> Facts | None:
        return None

    def prove(self, query: Any) -> Proof:
        return Proof(self.strategy.versions(), self.strategy.facts())


def _bound(search: Callable[[Any, int], Ids], k: int) -> Callable[[Any], Ids]:
    def ask(query: Any) -> Ids:
        return search(query, k)

    return ask


def tuned(work: Work, setting: Setting) -> tuple[Dataset, Strategy]:
    """The data set of ``work`` and its strategy, opened by itself and under ``setting``."""
    data, subject = open_dataset(work.vectors), work.subject
    assert isinstance(subject, InProcess)
    strategy = subject.load(data)
    strategy.tune(setting)
    return data, strategy
