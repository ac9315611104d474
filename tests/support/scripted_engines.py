"""Processes of engines that hear what a test says: what they are asked, and what their texts and times are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nightgate.errors import NightgateError, Unavailable
from nightgate.measure.child import ChildResult
from nightgate.transcription import engines, turning
from nightgate.transcription.clips.folder import SavedClip, save_set
from nightgate.transcription.engines import Segment, Transcript
from nightgate.transcription.models.resolve import ResolvedModel
from nightgate.transcription.prepared import PreparedClips, TranscriptionPrepared
from nightgate.transcription.settings import Settings
from nightgate.transcription.timed import InBatchesAnswer, OneByOneAnswer, Way, Work, one_by_one

OLD, NEW, PEER, TORCH = "whisper-cpp-python", "pywhispercpp", "faster-whisper", "openai-whisper"
BOTH = Settings(variants=(OLD,), controls=(NEW,), threads=2, gpu_batch=8, batch_seconds=20, batch_controls=True)
GOOD = ["red green blue", "Red, green; black.", "red green blue", "red green blue", "red green blue"]


def prepared_of(folder, count):
    """So many clips of 10 s."""
    folder.mkdir()
    clips = [
        SavedClip(id=f"clip-{i}", file=f"{i}.npy", seconds=10.0, sha256=f"{i}", text="red green blue")
        for i in range(1, count + 1)
    ]
    model = ResolvedModel(name="m", path="m.bin", source="file", bytes=1, sha256="0", n_vocab=51_864, ftype=1)
    return TranscriptionPrepared(model=model, clips=PreparedClips(folder=folder, facts=save_set(folder, clips)))


def model_is(prepared, **facts):
    return prepared.model_copy(update={"model": prepared.model.model_copy(update=facts)})


@dataclass(frozen=True)
class Asked:
    """One process that was asked for, and the variants that it took turns with, itself among them."""

    function: str
    request: object
    limits: dict
    turns: list

    @property
    def work(self):
        return work_of(self.request)

    @property
    def variant(self):
        return self.work.engine.name


def work_of(request):
    return request if isinstance(request, Work) else request.work


def hears(request, texts, seconds):
    """In turns, as `timed.one_by_one` and `in_batches` do: ``texts``, or the error that it ends with, and the ``seconds`` that
    a clip takes, or each."""
    if isinstance(texts, Exception):
        yield
        raise texts
    if not isinstance(request, Work):
        yield
        times = np.array([[2.0], [2.5], [3.0]])
        return InBatchesAnswer(
            trials=(), way=Way(2, 1), ran_on="cpu", seconds=times, texts=tuple(texts[: len(request.work.clips)])
        )
    spent = np.zeros(len(request.clips), np.int64)
    heard = []
    for place, each in enumerate(np.broadcast_to(seconds, len(spent))):
        yield
        if request.progress.enough:
            break
        spent[place] = round(each * 1e9)
        request.progress.spent(int(spent[place]))
        heard.append(Transcript((Segment(0.0, 1.0, texts[place]),)))
    return OneByOneAnswer(
        versions={"a-library": "1"}, ran_on="cpu", load_seconds=0.5, durations_ns=spent, first_segment_ns=spent // 4,
        beside_ns=spent // 1000,
        transcripts=tuple(heard),
    )  # fmt: skip


def child_replaced(monkeypatch):
    """``child(answers)``: variant → its texts, or the error it dies of; a list of them is one for each repeat. ``seconds``:
    variant → those of each repeat, see `hears`. Returns what was asked, as it is asked."""

    def replace(answers, batches=None, seconds=None):
        asked = []

        def of_this_repeat(given, variant):
            repeats = sum(one.variant == variant and one.function == "one_by_one" for one in asked)
            return given[variant][repeats - 1]

        def run_in_turns(asks, *, between, **limits):
            working, found = {}, {}
            for place, ask in enumerate(asks):
                variants = [work_of(each.request).engine.name for each in asks]
                asked.append(Asked(ask.function.__name__, ask.request, limits, variants))
                told = (batches if batches and ask.function is not one_by_one else answers)[variants[place]]
                if not isinstance(told, Exception) and not isinstance(told[0], str):
                    told = of_this_repeat({variants[place]: told}, variants[place])
                spent = of_this_repeat(seconds, variants[place]) if seconds and ask.function is one_by_one else 2.0
                working[place] = hears(ask.request, told, spent)
            while working:
                between()
                for place, one in list(working.items()):
                    try:
                        next(one)
                        continue
                    except StopIteration as done:
                        found[place] = ChildResult(done.value, 1000, 1.0)
                    except NightgateError as error:
                        found[place] = error
                    del working[place]
            return [found[place] for place in range(len(asks))]

        monkeypatch.setattr(turning, "run_in_turns", run_in_turns)
        return asked

    return replace


def installed(monkeypatch, *variants):
    """As if these were there, and made for any device."""
    monkeypatch.setattr(
        engines, "unavailable", lambda variant, *_: None if variant in variants else Unavailable(f"no {variant}")
    )
