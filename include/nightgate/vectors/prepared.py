"""What is known of a data set that is ready to be searched, and where it lies."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, SerializerFunctionWrapHandler, model_serializer

from nightgate.benchmark import Prepared
from nightgate.vectors.metric import Metric


class DataFacts(BaseModel):
    """What `synthetic.write` or `own.write` told of the vectors, ``digest``, and how hard they are (`hardness.measure`); of
    a file of the user's also its name and the SHA-256 of its content. ``exact_neighbours``: how these were found. What does
    not belong to the source is not set."""

    model_config = ConfigDict(frozen=True)

    rows: int
    dim: int
    digest: str
    metric: Metric = "cosine"
    seed: int | None = None
    hardness: float | None = None
    clusters: int | None = None
    format: int | None = None
    file: str | None = None
    sha256: str | None = None
    queries_file: str | None = None
    queries_sha256: str | None = None
    held_out: dict[str, int] | None = None
    queries_in_base: int | None = None
    zero_rows: dict[str, int] | None = None
    scaled_by_two_to_the: int | None = None
    shifted_by_length: float | None = None
    k: int | None = None
    exact_neighbours: str | None = None
    local_dimension: float | None = None
    relative_contrast: dict[str, float | None] | None = None

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, serialize: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        """None stands for an infinite number."""
        return {name: value for name, value in serialize(self).items() if name in self.model_fields_set}


class PreparedData(Prepared):
    """The folders of the ``vectors`` (`dataset.open_dataset`) and of the ``truth`` (`truth.open_truth`), in the cache."""

    vectors: Path
    truth: Path
    data: DataFacts
