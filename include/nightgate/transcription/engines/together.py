"""Several clips through OpenAI's `transcribe` at once: their windows of 30 seconds are decoded in one batch.

`transcribe` works through one clip window by window, and where one ends decides where the next begins. Here it runs
once per clip, as a coroutine that pauses where it wants a window decoded; when all have paused, one call decodes for
all of them. So a clip is cut into the same windows as when it is transcribed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Decode = Callable[["torch.Tensor", Any], Any]
"""A window's mel spectrogram, shape (n_mels, 3000), and whisper's `DecodingOptions` → its `DecodingResult`."""


class Windowed:
    """A loaded model as `transcribe` sees it, but that every window goes through ``decode``."""

    def __init__(self, model: Any, decode: Decode) -> None:
        self._model = model
        self.decode = decode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


@dataclass(frozen=True, slots=True)
class _Window:
    """One that is to be decoded as ``options`` say; where there are none, its language is asked for."""

    mel: torch.Tensor
    options: Any


class _Pausing(Windowed):
    """Every window, and every question for a language, is handed to ``pause``, which comes back with the answer."""

    def __init__(self, model: Any, pause: Callable[[_Window], Any]) -> None:
        super().__init__(model, lambda mel, options: pause(_Window(mel, options)))
        self.detect_language = lambda mel: pause(_Window(mel, None))


def transcribe_together(model: Any, clips: Sequence[torch.Tensor], **options: Any) -> list[Any]:
    """What `whisper.transcribe` says of each of ``clips``, in their order.

    Args:
        model: a loaded `whisper.Whisper`.
        clips: float32, shape (samples,), 16 kHz, on the device of the model.
        options: of `whisper.transcribe`, the same for every clip.
    """
    from greenlet import getcurrent, greenlet
    from whisper import transcribe

    pausing = _Pausing(model, getcurrent().switch)
    coroutines = [greenlet(lambda clip: transcribe(pausing, clip, **options)) for _ in clips]
    found: dict[int, Any] = {}
    answers: dict[int, Any] = dict(enumerate(clips))  # the first thing that each is given is its clip
    while answers:
        paused = {place: coroutines[place].switch(answer) for place, answer in answers.items()}
        found |= {place: each for place, each in paused.items() if coroutines[place].dead}
        answers = _answers(model, {place: each for place, each in paused.items() if place not in found})
    return [found[place] for place in range(len(clips))]


def _answers(model: Any, windows: Mapping[int, _Window]) -> dict[int, Any]:
    """Windows with the same options (language, temperature and prompt are among them) share a batch.

    With several candidates for each window OpenAI's decoder takes one window at a time.
    """
    import torch

    left, answers = dict(windows), dict[int, Any]()
    while left:
        options = next(iter(left.values())).options
        places = [place for place, window in left.items() if window.options == options]
        if options and (options.beam_size or options.best_of):
            places = places[:1]
        mels = torch.stack([left.pop(place).mel for place in places])
        if options is None:
            tokens, shares = model.detect_language(mels)
            results: Sequence[Any] = list(zip(tokens, shares, strict=True))
        else:
            results = model.decode(mels, options)
        answers |= zip(places, results, strict=True)
    return answers
