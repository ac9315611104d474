"""The model and the clips that all engines get, and how an engine is measured: one by one, in batches, and what it heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu.asked import WER_TOLERANCE, Asked
from gpu.outcome import Finding, at_most
from gpu.runner import Both, Earlier, Part
from nightgate.errors import Unavailable
from nightgate.measure.estimates import ratio_of_sums

if TYPE_CHECKING:
    import numpy as np

    from nightgate.transcription.clips.folder import SavedClip

WHISPER_CPP, TORCH = "pywhispercpp", "openai-whisper"
_CONTEXTS = 4  # that share a batch where an engine takes one clip at a time
NAME = "clips"


@dataclass(frozen=True)
class Prepared:
    """Paths of the ggml file and of the folder of the clips, see `nightgate.transcription.clips.folder`."""

    model: Path
    n_vocab: int
    ftype: int
    folder: Path
    count: int
    seconds: float


@dataclass(frozen=True)
class Heard:
    """``alone`` and ``batches``: seconds of every pass; ``errors`` and ``words`` of each clip that was heard alone."""

    ran_on: str
    load_seconds: float
    alone: tuple[float, ...]
    alone_audio: float
    errors: tuple[int, ...]
    words: tuple[int, ...]
    batches: tuple[float, ...]
    batch_clips: int
    batch_audio: float
    batch_errors: int
    batch_words: int


def prepare(asked: Asked, earlier: Earlier) -> Prepared:
    """The model and clips of the cache, or the ones that were named."""
    from nightgate import paths
    from nightgate.artifacts import Cache
    from nightgate.transcription.clips.sets import clip_set, user_clip_set
    from nightgate.transcription.models.resolve import resolve

    cache = Cache(paths.cache_dir())
    try:
        model = resolve(asked.model, cache)
        clips = user_clip_set(asked.clips, (), cache) if asked.clips else clip_set(asked.sizes.audio_seconds, cache)
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"the package {error.name} is not installed",
            "install it, or bring a model and clips with --model and --clips",
        ) from None
    return Prepared(
        model.path, model.n_vocab, model.ftype, clips.path, clips.facts["count"],
        clips.facts["seconds"],
    )  # fmt: skip


def prepared(both: Both) -> list[Finding]:
    found: Prepared = both.cpu
    return [
        Finding(name="model", value=found.model.name),
        Finding(name="clips", value=f"{found.count} of {found.seconds:.0f} s together"),
    ]


def measure(variant: str, asked: Asked, earlier: Earlier) -> Heard:
    """Load the engine, warm it, transcribe clip by clip and then all in batches."""
    import numpy as np

    from nightgate.transcription import engines, scoring
    from nightgate.transcription.clips.folder import read_clips

    ready: Prepared = earlier[NAME]
    model = engines.Model(ready.model, None, ready.n_vocab, ready.ftype)
    if missing := engines.unavailable(variant, asked.device, model):
        raise missing
    kind = engines.named(variant)
    kind.library()
    known = read_clips(ready.folder)
    audio, texts = [np.load(ready.folder / clip.file) for clip in known], [clip.text for clip in known]
    few = _first(known, asked.sizes.alone_seconds)
    start = time.perf_counter()
    engine = engines.load(kind, model, asked.threads, asked.device)
    load_seconds = time.perf_counter() - start
    engine.transcribe(audio[0])
    alone, heard = _timed(lambda: [engine.transcribe(clip).text for clip in audio[:few]], asked.repeats)
    errors, words = scoring.word_errors(texts[:few], heard)
    many = len(audio) if asked.device == "gpu" else few  # on the CPU only what is compared
    order = sorted(range(many), key=lambda place: -len(audio[place]))
    in_batches = _batcher(engine, lambda: engines.load(kind, model, _shared(asked), asked.device))
    cut = [
        [audio[place] for place in order[i : i + asked.sizes.batch_clips]]
        for i in range(0, many, asked.sizes.batch_clips)
    ]
    if asked.device == "gpu":
        in_batches(cut[0])  # a batch of a new shape is prepared when it comes for the first time
    batches, together = _timed(lambda: [text for batch in cut for text in in_batches(batch)], asked.repeats)
    batch_errors, batch_words = scoring.word_errors([texts[place] for place in order], together)
    return Heard(
        ran_on=engine.ran_on, load_seconds=load_seconds, alone=alone, alone_audio=_seconds(known[:few]),
        errors=tuple(errors.tolist()), words=tuple(words.tolist()), batches=batches, batch_clips=asked.sizes.batch_clips,
        batch_audio=_seconds([known[place] for place in order]), batch_errors=int(batch_errors.sum()),
        batch_words=int(batch_words.sum()),
    )  # fmt: skip


def _timed(work: Callable[[], list[str]], repeats: int) -> tuple[tuple[float, ...], list[str]]:
    """Seconds of each pass, and what was heard in the last. An engine answers when its device is done."""
    spent, heard = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        heard = work()
        spent.append(time.perf_counter() - start)
    return tuple(spent), heard


def _batcher(engine: Any, another: Callable[[], Any]) -> Callable[[Sequence[np.ndarray]], list[str]]:
    """How a batch is transcribed: in one call where the engine can, else by several contexts side by side."""
    from nightgate.transcription import engines
    from nightgate.transcription.whisper_batch import spread

    if isinstance(engine, engines.BatchEngine):
        return lambda clips: [transcript.text for transcript in engine.transcribe_together(clips)]
    contexts = [another() for _ in range(_CONTEXTS)]

    def hear(clips: Sequence[np.ndarray]) -> list[str]:
        return spread(contexts, clips, lambda context, clip: context.transcribe(clip).text)

    return hear


def _shared(asked: Asked) -> int:
    return max(1, asked.threads // _CONTEXTS)


def _first(clips: Sequence[SavedClip], seconds: float) -> int:
    """How many of the first clips make up ``seconds``; one at least."""
    total = 0.0
    for count, clip in enumerate(clips, start=1):
        total += clip.seconds
        if total >= seconds:
            return count
    return len(clips)


def _seconds(clips: Sequence[SavedClip]) -> float:
    return sum(clip.seconds for clip in clips)


def findings(variant: str, both: Both) -> list[Finding]:
    found: Heard = both.gpu or both.cpu
    limits = both.limits if both.gpu else None
    alone_limit = (limits.torch_xrt if variant == TORCH else limits.whispercpp_xrt) if limits else None
    batch_limit = limits.torch_batch_xrt if limits and variant == TORCH else None
    alone, _, bounds = ratio_of_sums(_array(found.alone), found.alone_audio)
    batch, _, batch_bounds = ratio_of_sums(_array(found.batches), found.batch_audio)
    made = [
        Finding(name="ran on", value=found.ran_on),
        at_most("xRT one by one", alone, alone_limit, ci95=bounds),
        at_most(f"xRT in batches of {found.batch_clips}", batch, batch_limit, ci95=batch_bounds),
        Finding(name="word error rate", value=_rate(found)),
        Finding(name="word error rate in batches", value=found.batch_errors / found.batch_words),
        Finding(name="loading the model", value=found.load_seconds, unit="seconds"),
    ]
    if both.gpu and both.cpu:
        apart = abs(_rate(both.gpu) - _rate(both.cpu))
        cpu, _, _ = ratio_of_sums(_array(both.cpu.alone), both.cpu.alone_audio)
        made += [
            at_most("word error rate, apart from the CPU's", apart, WER_TOLERANCE, note=f"on the CPU {_rate(both.cpu):.4f}"),
            Finding(name="times as fast as the CPU, one by one", value=cpu / alone, note=f"there {both.cpu.ran_on}, xRT {cpu:.3f}"),
        ]  # fmt: skip
    return made


def _rate(heard: Heard) -> float:
    return sum(heard.errors) / sum(heard.words)


def _array(seconds: tuple[float, ...]) -> np.ndarray:
    import numpy as np

    return np.array(seconds)


CLIPS = Part(NAME, prepare, prepared, seconds=120, sides=("cpu",))
PARTS = tuple(
    Part(
        variant, partial(measure, variant), partial(findings, variant), seconds=90, groups=(group,), needs=(NAME,),
    )
    for variant, group in ((WHISPER_CPP, "whispercpp"), (TORCH, "torch"))
)  # fmt: skip
