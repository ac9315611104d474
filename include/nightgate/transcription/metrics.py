"""The metrics of the transcription benchmark, in the order in which they are read."""

from __future__ import annotations

from nightgate.metrics import PEAK_DEVICE, ErrorRate, MetricSpec, Repeats

_SPEECH = "Speech"

XRT = MetricSpec(
    "xrt",
    "ratio",
    "xRT",
    section=_SPEECH,
    help="Processing time per audio time.",
    samples=Repeats("xrt_repeats"),
    rounds=Repeats("round_seconds"),
    watched=True,
)
WER = MetricSpec(
    "wer",
    "ratio",
    "Word error rate",
    short="WER",
    section=_SPEECH,
    may_be_zero=True,
    help="Word error rate.",
    samples=ErrorRate("wer_errors", "wer_words", "clips"),
    watched=True,
)
CER = MetricSpec(
    "cer",
    "ratio",
    "Character error rate",
    short="CER",
    section=_SPEECH,
    may_be_zero=True,
    samples=ErrorRate("cer_errors", "cer_characters", "clips"),
)
XRT_P95 = MetricSpec("xrt_p95", "ratio", "P95 xRT", section=_SPEECH)
RTFX = MetricSpec(
    "rtfx",
    "ratio",
    "RTFx",
    "higher",
    section=_SPEECH,
    samples=Repeats("xrt_repeats", inverted=True),
    rounds=Repeats("round_seconds", inverted=True),
)
BATCH_XRT = MetricSpec("batch_xrt", "ratio", "Batch xRT", section=_SPEECH, samples=Repeats("batch_xrt_repeats"))
BATCH_RTFX = MetricSpec(
    "batch_rtfx", "ratio", "Batch RTFx", "higher", section=_SPEECH, samples=Repeats("batch_xrt_repeats", inverted=True)
)
FAST_SHARE = MetricSpec(
    "fast_share",
    "ratio",
    "Clips heard at full speed",
    None,
    section=_SPEECH,
    share=True,
    help="Share of the timed clips on both sides of which the host was at its full speed.",
)
FIRST_SEGMENT = MetricSpec("first_segment_latency", "seconds", "First segment", section=_SPEECH)
LOAD_SECONDS = MetricSpec("load_seconds", "seconds", "Load")
PEAK_RSS = MetricSpec("peak_rss_bytes", "bytes", "Peak memory")

METRICS = (
    XRT,
    WER,
    CER,
    XRT_P95,
    RTFX,
    BATCH_XRT,
    BATCH_RTFX,
    FIRST_SEGMENT,
    FAST_SHARE,
    LOAD_SECONDS,
    PEAK_RSS,
    PEAK_DEVICE,
)
HEADLINES = ("xrt", "wer", "cer", "batch_xrt", "xrt_p95", "first_segment_latency")
