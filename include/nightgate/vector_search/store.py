"""A server of vectors, as its author writes it: how vectors are loaded, indexed, searched and removed again.

A `VectorStore` that an entry point of the group ``nightgate.vector_stores`` names has a benchmark of its own, called
``<name>_search``, see `store_benchmark`. Its module must import light: the client library is imported inside the methods.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from nightgate.benchmark import Service
from nightgate.errors import InputError
from nightgate.facts import Point
from nightgate.record import Record, utc_now
from nightgate.vector_search.session import Encoded, Facts, Ids, Proof, Setting
from nightgate.vector_search.settings import Shape
from nightgate.vector_search.store_settings import StoreSettings
from nightgate.vectors.metric import METRICS, Metric
from nightgate.vectors.prepared import DataFacts

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

Connection = TypeVar("Connection")
Asked = TypeVar("Asked", bound=StoreSettings)


@dataclass(frozen=True)
class Address:
    """Where a server is. ``ours``: it is the embedded stack's own, to be restarted, and to keep vectors on."""

    url: str = field(repr=False)
    ours: bool = False


@dataclass(frozen=True)
class Collection:
    """The vectors of one ``variant`` of a store: ``rows`` × ``dim``, compared by ``metric``, of the data set ``digest``."""

    variant: str
    digest: str
    rows: int
    dim: int
    metric: Metric

    @property
    def name(self) -> str:
        """Lower case, digits and underscores; another data set has another name."""
        return f"{self.variant}_{self.digest}"


class TunedFor(BaseModel):
    """What a setting was looked for; where another is asked for, it is looked for anew."""

    model_config = ConfigDict(frozen=True)

    recall_target: float
    recall_margin: float
    host: str
    k: int


class KeptTuning(BaseModel):
    """A setting that was found, for as long as the collection stands and the same is ``asked``."""

    model_config = ConfigDict(frozen=True)

    asked: TunedFor
    setting: Setting
    reached: bool
    curve: list[Point]


class Built(BaseModel):
    """How a collection was made at ``built_at`` (ISO 8601), with the host to itself: seconds to load and to index it.
    ``build``: the id of its index, another for each build. ``indexed_at``: when that was built, if later than the rest.
    ``reused``: it stood already. ``tuning``: what was found on it before."""

    model_config = ConfigDict(frozen=True, extra="allow")

    load_seconds: float
    rows_per_second: float
    build_seconds: float
    built_at: str
    build: str | None = None
    indexed_at: str | None = None
    index_bytes: int | None = None
    reused: bool = False
    tuning: KeptTuning | None = None

    @property
    def index_of(self) -> str:
        """When its index was built."""
        return self.indexed_at or self.built_at

    @property
    def build_id(self) -> str:
        """``build``; of a collection of before it was kept, when it was made, which is as good."""
        return self.build or self.built_at

    def index_made(self, seconds: float) -> Built:
        """The same with an index that was built just now, for which nothing is tuned yet."""
        return self.model_copy(
            update={
                "build_seconds": seconds,
                "build": _new_id(),
                "indexed_at": utc_now(),
                "tuning": None,
            }
        )


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


class StoreSession(ABC):
    """A connection that searches one collection; see `session.Session`. ``settings`` stand from the cheapest to the dearest."""

    settings: Sequence[Setting]

    @abstractmethod
    def search(self, query: Any) -> Ids:
        """The timed call: the ids of the k nearest to an encoded query, best first. Do in it what a client must, and no
        more."""

    @abstractmethod
    def tune(self, setting: Setting, query: Any) -> None:
        """Put ``setting`` in force; with ``query``, unless it is None, it can be proven that the index is used under it."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Of the server and of the client library."""

    def check(self) -> None:
        """NotMeasured: the collection is not what was loaded. Called once, before anything is timed."""
        return

    def warm(self, base: np.ndarray) -> Facts | None:
        """Bring what the queries will read into the server's memory; what that took, or None."""
        return None

    def prove(self, query: Any) -> Proof:
        """After the timing: versions, and whatever shows that it was the search that was meant."""
        return Proof(self.versions())


class VectorStore(ABC, Generic[Connection, Asked]):
    """A kind of server.

    Attributes:
        name: that of its entry point, such as "pgvector".
        title: for people.
        service: where its address is looked for.
        variants: its indexes, by the names that suites and records use.
        metrics: by which it can compare.
        settings: the model of its section in a suite.
        keep_variables: of the environment, what the client library reads (``"PGSSL*"``).
        restarts: whether `restart` can be called on a server that is ours.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    service: ClassVar[Service]
    variants: ClassVar[tuple[str, ...]]
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    settings: type[Asked]
    keep_variables: ClassVar[tuple[str, ...]] = ()
    restarts: ClassVar[bool] = False

    def check_declaration(self) -> None:
        """Look through what is declared, once, when it is loaded.

        Raises:
            InputError: something is missing or contradicts the rest.
        """
        wanted = {"name": str, "title": str, "service": Service, "settings": type, "variants": tuple}
        for attribute, kind in wanted.items():
            if not isinstance(getattr(self, attribute, None), kind):
                raise InputError(f"it has no {attribute}", f"give it a {attribute}")
        if not issubclass(self.settings, StoreSettings):
            raise InputError(f"settings is {self.settings!r}", "name a subclass of StoreSettings")
        if not self.variants or set(self.variants) != set(self.settings.known_variants):
            raise InputError(
                f"variants is {self.variants!r}, and {self.settings.__name__}.known_variants is "
                f"{self.settings.known_variants!r}",
                "name the same indexes in both",
            )

    # what it can hold, asked before a row is loaded

    def most_dimensions(self, variant: str) -> int | None:
        """How many dimensions the index of ``variant`` takes; None: there is no limit."""
        return None

    def too_much(self, variant: str, shape: Shape, settings: Asked) -> str | None:
        """Why ``variant`` cannot hold vectors of that ``shape``, as a clause; None when it can."""
        most = self.most_dimensions(variant)
        if shape.metric not in self.metrics:
            return f"{self.title} does not compare by {shape.metric}"
        if most is not None and shape.dim > most:
            return f"{self.title} indexes {variant} up to {most:,} dimensions and dim is {shape.dim:,}"
        return None

    def look(self, url: str) -> None:
        """InputError: ``url`` cannot be an address. Nothing is connected to."""

    def collection(self, variant: str, data: DataFacts, settings: Asked) -> Collection:
        return Collection(variant, data.digest, data.rows, data.dim, data.metric)

    # the server

    @abstractmethod
    def connect(self, address: Address, doing: str, *, required: bool = True) -> AbstractContextManager[Connection]:
        """A connection to load and to look after collections with.

        Args:
            doing: completes "the server was lost while it should …".
            required: whether a server that is not there is a failure or a reason to skip.

        Raises:
            Unavailable: nobody is there, and it is not ``required``. ServiceUnavailable: it refuses, or went away.
            NotMeasured: it refused a statement.
        """

    def begin(self, connection: Connection) -> None:
        """Bring the server to where it can hold vectors, such as by an extension."""

    def lacks(self, connection: Connection, variant: str) -> str | None:
        """What this server does not have of ``variant``, as a clause; None when it has all."""
        return None

    def instead(self, variant: str) -> str | None:
        """The variant that is gated where the server cannot have ``variant``, if there is one like it."""
        return None

    def lock(self, connection: Connection) -> None:
        """Wait until nobody else loads, or times what is loaded, for as long as ``connection`` stands."""

    def share(self, connection: Connection) -> None:
        """Let others time as well, and nobody load, whether or not ``connection`` holds the lock."""

    def try_lock(self, connection: Connection) -> bool:
        """As `lock`, but do not wait long; whether it is held."""
        return True

    # collections

    @abstractmethod
    def rows(self, connection: Connection, collection: Collection) -> int | None:
        """How many rows ``collection`` holds; None when it is not there."""

    @abstractmethod
    def load(self, connection: Connection, address: Address, collection: Collection, base: np.ndarray) -> None:
        """Make ``collection`` and put ``base`` (rows, dim) float32 into it, with the row numbers as ids. Whatever is there of
        this name is replaced. More connections may be opened to ``address``."""

    @abstractmethod
    def index(self, connection: Connection, address: Address, collection: Collection) -> Facts:
        """Build its index, and wait until it is built; what is to be told of it, its ``build_seconds`` where the time of
        this call is not the answer."""

    @abstractmethod
    def remove(self, connection: Connection) -> None:
        """Remove every collection of ours, and nothing else."""

    def standing(
        self, connection: Connection, collection: Collection, base: np.ndarray, known: Built | None
    ) -> Built | None:
        """How ``collection`` was made, if it stands there whole; ``known``: if this run has made it already."""
        return known if known and self.rows(connection, collection) == collection.rows else None

    def reindex(
        self, connection: Connection, address: Address, collection: Collection, base: np.ndarray, built: Built
    ) -> Built:
        """``collection``, which stands as ``built``, with an index that is built now; a store that cannot index what it
        holds loads it again. The caller holds the lock, and the host."""
        return self._made(connection, address, collection, base)

    def together(self, connection: Connection, collections: Sequence[Collection]) -> bool:
        """Whether the server's memory holds what the queries read of all of them, so that they can be timed in turns."""
        return True

    def finish(self, connection: Connection, collection: Collection, built: Built) -> Built:
        """Called when ``collection`` is loaded and indexed; ``built``, with what else is to be told of it."""
        return built

    def ensure(
        self, connection: Connection, address: Address, collection: Collection, base: np.ndarray, known: Built | None
    ) -> Built:
        """``collection``, loaded and indexed, unless it stands; the caller holds the lock, and the host."""
        if standing := self.standing(connection, collection, base, known):
            log.info("%s: what was loaded at %s stands", collection.variant, standing.built_at)
            return standing.model_copy(update={"reused": True})
        return self._made(connection, address, collection, base)

    def _made(self, connection: Connection, address: Address, collection: Collection, base: np.ndarray) -> Built:
        try:
            start = time.perf_counter()
            self.load(connection, address, collection, base)
            loaded = time.perf_counter()
            facts = self.index(connection, address, collection)
            indexed = time.perf_counter()
        except BaseException:
            with suppress(Exception):  # the server may be gone; whatever is left then, the next load drops
                self.drop_drafts(connection)
            raise
        seconds = loaded - start
        built = Built.model_validate(
            {"build_seconds": indexed - loaded}
            | facts
            | {
                "load_seconds": seconds,
                "rows_per_second": len(base) / seconds,
                "built_at": utc_now(),
                "build": _new_id(),
            }
        )
        return self.finish(connection, collection, built)

    def remember(self, connection: Connection, collection: Collection, built: Built) -> None:
        """Keep what is known of ``collection`` with it, for whoever finds it next."""

    def drop_drafts(self, connection: Connection) -> None:
        """Remove what an interrupted load left."""

    def restart(self, connection: Connection, address: Address) -> None:
        """Restart the server and wait until it answers; see ``restarts``."""
        raise NotImplementedError(f"{self.name} cannot be restarted")

    # searching

    def encode(self, collection: Collection, queries: np.ndarray) -> Encoded:
        """``queries`` (n, dim) float32, each as `StoreSession.search` takes it."""
        return [query.tolist() for query in queries]

    @abstractmethod
    def open(self, address: Address, collection: Collection, k: int) -> AbstractContextManager[StoreSession]:
        """A connection that asks ``collection`` for the ``k`` nearest; raises as `connect`."""

    # what is said

    def explain(self, record: Record, beside: Sequence[Record]) -> str | None:
        """Why recall and latency of ``record`` do not hold together, if it can be said better than that the recall is out
        of reach; ``beside`` are the records of the run."""
        return None

    def findings(self, address: Address) -> Iterator[tuple[bool, str]]:
        """For ``nightgate doctor``: is it fine, and what was found."""
        yield from ()

    def address(self, url: str) -> Address:
        return Address(url, bool(url) and url == os.environ.get(self.service.embedded or "", "").strip())
