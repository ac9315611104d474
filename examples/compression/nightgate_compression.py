"""How fast a compressor of the standard library is, and how small it makes documents."""

from __future__ import annotations

import bz2
import json
import lzma
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from nightgate import api

COMPRESS: dict[str, Callable[[bytes], bytes]] = {"zlib": zlib.compress, "bz2": bz2.compress, "lzma": lzma.compress}
TIME = api.MetricSpec("compress_p95", "seconds", "P95 of one document", samples=api.Quantile("durations_ns", 0.95))
SIZE = api.MetricSpec("size_ratio", "ratio", "Compressed over original size")


class Settings(api.BenchmarkSettings):
    known_variants: ClassVar[tuple[str, ...]] = tuple(COMPRESS)
    documents: int = Field(default=200, ge=100, le=10_000, title="Documents", description="Timed one by one.")


class Documents(api.Prepared):
    folder: Path


class Compression(api.Benchmark[Settings, Documents]):
    name, title, devices = "compression", "Compression", ("cpu",)
    settings, prepared = Settings, Documents
    metrics, headlines = (TIME, SIZE), (TIME.name, SIZE.name)

    def prepare(self, settings: Settings, context: api.Context) -> Documents:
        def write(folder: Path) -> None:
            chance = random.Random(7)
            for number in range(settings.documents):
                visits = [{"user": chance.randrange(10_000), "seconds": chance.random()} for _ in range(100)]
                (folder / f"{number}.txt").write_text(json.dumps(visits))

        return Documents(folder=context.cache.get("documents", {"count": settings.documents}, write).path)

    def measure(self, settings: Settings, prepared: Documents, context: api.Context) -> list[api.Record]:
        records = {name: self.new_record(settings, name, context) for name in (*settings.variants, *settings.controls)}
        raw = {}
        for name, record in records.items():
            raw[f"{name}/durations_ns"], ratios = api.run_child(timed, (name, prepared.folder), threads=1).value
            record.add(TIME, *api.quantile(raw[f"{name}/durations_ns"] / 1e9, 0.95))
            record.add(SIZE, *api.mean(ratios))
        api.save_samples(context.samples, raw)
        return list(records.values())


def timed(request: tuple[str, Path]) -> tuple[Any, list[float]]:
    texts = [file.read_bytes() for file in sorted(request[1].glob("*.txt"))]
    durations, answers = api.time_calls(COMPRESS[request[0]], texts, passes=3, warmup=texts[:5])
    return durations, [len(answer) / len(text) for answer, text in zip(answers, texts, strict=True)]
