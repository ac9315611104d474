"""What the command says of errors that nobody foresaw."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from nightgate import cli, paths, steps, terminal
from nightgate.artifacts import Cache
from nightgate.errors import InputError, NightgateError, NotMeasured, Unavailable

ROOT = Path(__file__).resolve().parents[2]


def test_an_unforeseen_error_is_not_taken_for_a_breach(monkeypatch, capsys):
    def app(**_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3, "1 would say that an objective is breached"
    assert "RuntimeError: a bug" in capsys.readouterr().err


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    return Cache(paths.cache_dir())


def write(folder):
    (folder / "a").write_bytes(b"x" * 1000)


def nightgate(*words):
    done = CliRunner().invoke(cli.app, words)
    if isinstance(done.exception, NightgateError):
        raise done.exception
    return " ".join(done.output.split())


def test_gc_removes_what_nobody_uses_and_says_what_stays(cache):
    used, free = cache.get("kind", {"n": 1}, write), cache.get("kind", {"n": 2}, write)
    free.release()
    (used.path.parent / "dead.1.building").mkdir()
    said = nightgate("cache", "gc")
    assert "dead.1.building, left by a process that is gone" in said
    assert f"removed kind/{free.digest} 1.00 kB" in said
    assert "1.00 kB stay: in use" in said
    assert [path.name for path in used.path.parent.iterdir()] == [used.digest]
    assert f"kind/{used.digest}" in nightgate("cache", "list")


def test_verify_names_what_is_damaged(cache):
    made = cache.get("kind", {}, write)
    assert nightgate("cache", "verify") == "every artefact is whole (1)"
    (made.path / "a").write_bytes(b"y" * 1000)
    with pytest.raises(NightgateError, match=rf"damaged: {made.path}"):
        nightgate("cache", "verify")


@pytest.mark.parametrize(
    "words", [["run", "--benchmarks", ","], ["run", "--devices", "cpu,"], ["run", "--benchmarks", " "]]
)
def test_a_list_that_names_nothing_is_refused_and_not_taken_for_all(monkeypatch, words):
    from nightgate.terminal import night

    monkeypatch.setattr(night, "run_night", lambda *_: pytest.fail("it was started"))
    with pytest.raises(InputError, match="names nothing before or after a comma"):
        nightgate(*words)


@pytest.mark.parametrize("path", ["hybrid_ann.variants", "hybrid_ann.controls", "transcription.gpu_variants"])
def test_a_variant_that_is_chosen_twice_is_refused(path):
    with pytest.raises(InputError, match=f"--variant and --set {path} say the same twice"):
        nightgate("measure", path.split(".")[0], "--variant", "hybrid", "--set", f"{path}=[hnsw]")


@pytest.mark.parametrize(
    ("benchmark", "overrides"),
    [("hybrid_ann", {"variants", "controls"}), ("transcription", {"variants", "controls", "gpu_variants"})],
)
def test_a_variant_that_is_chosen_is_alone_on_every_device(benchmark, overrides, monkeypatch):
    given = []

    def preflight(run_id, **facts):
        given.append(facts["overrides"])
        raise InputError("enough")

    monkeypatch.setattr(steps, "preflight", preflight)
    with pytest.raises(InputError, match="enough"):
        nightgate("measure", benchmark, "--variant", "x")
    expected = {f"{benchmark}.{key}": ["x"] if key == "variants" else [] for key in overrides}
    assert given == [expected]


def test_the_doctor_tells_a_gpu_a_host_without_one_and_a_driver_that_fails():
    from nightgate.record import Gpu, Host
    from nightgate.terminal import doctor

    plain = Host(fingerprint="f", cpu="c", cores=2, memory_bytes=1)
    assert doctor._gpu(plain) == (True, "GPU: none, so the GPU tasks skip")
    broken = plain.model_copy(update={"gpu_fault": "the driver does not work: lost"})
    assert doctor._gpu(broken) == (False, "GPU: the driver does not work: lost")
    old = plain.model_copy(update={"gpu": "NVIDIA L4"})  # of a record from before the facts were kept
    assert doctor._gpu(old) == (True, "GPU: NVIDIA L4")
    facts = Gpu(name="NVIDIA H100", memory_bytes=80 * 2**30, driver="580.65", compute_capability="9.0", power_limit_watts=700, source="nvml")  # fmt: skip
    seen = plain.model_copy(update={"gpu": "NVIDIA H100", "gpu_facts": facts})
    assert doctor._gpu(seen) == (
        True,
        "GPU: NVIDIA H100, 80 GiB, driver 580.65, compute capability 9.0, up to 700 W",
    )


def test_the_doctor_tells_how_quiet_the_host_is(tmp_path, monkeypatch):
    from nightgate.measure import known_host, trust
    from nightgate.terminal import doctor

    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    fine, said = doctor._quiet()
    assert fine and said.startswith(
        "host: quiet now (canary: computing 10.0 ms, memory 6.0 GB/s, cache 2.0 ns, sleeps 60 µs late;"
    )
    assert said.endswith("); no quiet measurement known so far")
    one = known_host.Known(at="then", cpu=0.01, fastest=0.004, memory=6e9, cache=2e-9)
    known_host.add(known_host.file_of(tmp_path, doctor.host.describe().fingerprint), [one], one)
    monkeypatch.setattr(trust, "disturbed", lambda noise, known: f"by a test, {len(known)} known")
    fine, said = doctor._quiet()
    assert fine and said.startswith("host: not quiet now: by a test, 2 known (canary:")
    assert said.endswith("); 2 quiet measurements known, 0% of the time at its fastest")
    (tmp_path / "file").touch()
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "file" / "home"))
    fine, said = doctor._quiet()
    assert not fine and "cannot be created" in said


def test_the_doctor_names_a_variable_that_nothing_reads(monkeypatch):
    from nightgate.terminal import doctor

    for name in paths.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert doctor._environment() == (True, "environment: none of the variables of Nightgate is set")
    monkeypatch.setenv("NIGHTGATE_HOME", "/x")
    assert doctor._environment() == (True, "environment: NIGHTGATE_HOME")
    monkeypatch.setenv("NIGHTGATE_RUN", "/x")
    fine, said = doctor._environment()
    assert not fine and "NIGHTGATE_RUN; did you mean 'NIGHTGATE_RUNS'?" in said


def test_a_run_that_cannot_be_read_hides_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path))
    reference = ROOT / "benchmarks/reference"
    whole = min(reference.glob("*/summary.json")).parent
    for name, text in ((whole.name, None), ("torn", "{"), ("copied", None)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(text or (whole / "summary.json").read_text())
    said = nightgate("results", "list")
    assert "torn/summary.json is torn" in said
    assert f"copied/summary.json is the summary of run {whole.name}" in said
    assert f"{whole.name} nightly full pass" in said


@pytest.mark.parametrize("stderr", [True, False])
def test_brackets_in_a_message_are_no_markup(capsys, stderr):
    """The names to leave out went missing from the advice, and a path in brackets ended in a traceback."""
    terminal.console(stderr=stderr).print(
        "--set 'transcription.exclude=[a,b]', or [/data]", style="red", highlight=False
    )
    said = capsys.readouterr()
    assert (said.err if stderr else said.out).strip() == "--set 'transcription.exclude=[a,b]', or [/data]"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("where", ["prepare", "measure"])
def test_an_order_to_end_lets_a_measurement_tidy_up(monkeypatch, number, where):
    """Ended while it waited for its turn, it left its tables on the server of the user."""
    tidied = []

    def ended(*_):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            tidied.append(where)

    monkeypatch.setattr(steps, "preflight", lambda *_, **__: SimpleNamespace(work=[("transcription", "cpu")]))
    monkeypatch.setattr(steps, "prepare", ended if where == "prepare" else lambda *_: {})
    monkeypatch.setattr(steps, "measure", ended)
    monkeypatch.setattr(steps, "report", lambda *_: pytest.fail("it was ended"))
    given = signal.signal(number, signal.SIG_DFL)  # whoever started the tests may have had it ignored
    try:
        done = CliRunner().invoke(cli.app, ["measure", "transcription"])
        assert done.exit_code == 130 and tidied == [where]
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, given)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminal.ends_like_ctrl_c(signal.SIGHUP):
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.fixture
def measuring(monkeypatch, tmp_path):
    """`nightgate measure` with steps that do nothing; ``said`` is what they were called with, ``confirm`` what `confirm` does."""
    from nightgate.record import Host, Summary

    host = Host(fingerprint="f", cpu="c", cores=2, memory_bytes=1)
    summary = Summary(run_id="a", dag_id="d", scale="smoke", state="inconclusive", started_at="s", finished_at="e", host=host, results=[])  # fmt: skip
    made = SimpleNamespace(calls=[], confirm=lambda **_: 1)

    def preflight(run_id, confirm, **facts):
        return SimpleNamespace(work=[("transcription", "cpu")], confirm=confirm)

    def confirm(plan, benchmark, device, store_url, **named):
        made.calls.append(("confirm", benchmark, device, store_url, named))
        return made.confirm(**named)

    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    for name, step in (
        ("preflight", preflight), ("prepare", lambda *_: {}), ("measure", lambda *_: made.calls.append("measure")),
        ("confirm", confirm), ("report", lambda *_: made.calls.append("report") or summary),
    ):  # fmt: skip
        monkeypatch.setattr(steps, name, step)
    return made


def words(*given):
    done = CliRunner().invoke(cli.app, ["measure", "transcription", *given])
    return done.exit_code, " ".join(done.output.split())


CONFIRMED = ("confirm", "transcription", "cpu", None)
UNDECIDED = (
    "nightgate: exit code 3: undecided: everything was measured and nothing is breached, but not of every objective is "
    "known that it holds"
)


def test_a_measurement_from_the_terminal_is_confirmed_as_well(measuring):
    code, said = words()
    assert measuring.calls == ["measure", (*CONFIRMED, {}), "report"]
    assert code == 3 and said.endswith(UNDECIDED)
    measuring.calls.clear()
    assert words("--no-confirm")[0] == 3
    assert measuring.calls == ["measure", "report"]


def test_where_nothing_is_to_be_confirmed_that_is_said_and_no_failure(measuring):
    def nothing(**_):
        raise Unavailable("nothing is to be confirmed")

    measuring.confirm = nothing
    assert "nothing is to be confirmed" in words()[1]
    assert measuring.calls[-1] == "report"


@pytest.mark.parametrize("error", [NotMeasured("it crashed"), InputError("the file is gone")])
def test_a_confirming_run_that_fails_takes_nothing_away(measuring, error, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path))

    def failed(**_):
        raise error

    measuring.confirm = failed
    assert str(error) in words()[1]
    assert measuring.calls[-1] == "report", "what was measured is judged all the same"


def test_help_waits_for_nothing_that_measures():
    """What the commands do takes most of a second to import."""
    program = "import sys, nightgate.cli; print(*sorted(name for name in sys.modules if name.startswith('nightgate')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "nightgate",
        "nightgate.cli",
        "nightgate.errors",
        "nightgate.paths",
        "nightgate.terminal",
        "nightgate.terminal.stored",
    ]
    assert "pydantic" not in done.stdout
