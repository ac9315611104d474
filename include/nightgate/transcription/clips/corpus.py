"""What the packaged clips say: passages of public-domain text, and how the clips are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage of the corpus: a short id, where it comes from, and its text."""

    id: str
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip: passage ids in the order they are spoken; a number between or after them is silence in seconds.

    ``snr_db`` adds pink noise to the whole clip, see `nightgate.transcription.clips.noise`.
    """

    id: str
    parts: tuple[str | float, ...]
    snr_db: float | None = None

    @property
    def passages(self) -> tuple[str, ...]:
        return tuple(part for part in self.parts if isinstance(part, str))

    @property
    def silence_seconds(self) -> float:
        return sum(part for part in self.parts if not isinstance(part, str))


# In order of transcription. The first minute is the smoke scale, so it holds a bit of everything and nothing long.
# Whisper hears windows of 30 s and pads the last one: clips of just under 30 or 60 s give the most speech for the time.
CLIPS = (
    Clip("gettysburg", ("lincoln-gettysburg",)),
    Clip("nations", ("washington-nations",)),
    Clip("whale-20db", ("melville-whale",), snr_db=20),
    Clip("pause-10s", ("franklin-rise", 10, "henry-liberty")),
    Clip("parents", ("wilde-parents",)),
    Clip("families", ("tolstoy-families",)),
    Clip("novels-59s", ("wells-worlds", "austen-pride", "bronte-eyre")),
    Clip("candle-10db", ("faraday-candle",), snr_db=10),
    Clip("bank-then-10s", ("darwin-origin", 10)),
    Clip("founders-53s", ("lincoln-inaugural", "declaration", "constitution")),
    Clip("arena-prairie", ("roosevelt-arena", "baum-prairie")),
    Clip("heroes-53s-20db", ("austen-emma", "twain-sawyer", "stoker-castle"), snr_db=20),
    Clip("reliance", ("emerson-reliance",)),
    Clip("pause-11s", ("carroll-alice", 11, "doyle-woman")),
    Clip("sea-times-10db", ("verne-sea", "dickens-cities"), snr_db=10),
    Clip("man", ("douglass-man",)),
    Clip("tales-56s", ("stevenson-island", "shelley-frankenstein", "grahame-mole")),
    Clip("grandeur", ("darwin-grandeur",)),
    Clip("woods-10db", ("thoreau-walden",), snr_db=10),
    Clip("grass", ("cather-grass",)),
)


def passages() -> list[Passage]:
    """The corpus in file order. A line ``# id | source`` stands above each passage.

    Its spelling is American, digits and abbreviations are left out: what is written must be what is spoken.
    """
    found, head = [], ("", "")
    for line in files("nightgate.transcription.clips").joinpath("corpus.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            name, _, source = line.removeprefix("#").partition("|")
            head = (name.strip(), source.strip())
        elif line.strip():
            found.append(Passage(*head, line.strip()))
    return found
