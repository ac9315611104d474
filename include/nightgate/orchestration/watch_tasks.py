"""The tasks of the watch: look at the night that has just ended, measure what stands out beside its control, tell people."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from airflow.sdk import BaseNotifier, TaskGroup, TriggerRule, get_current_context, task
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.exceptions import AirflowSkipException, DownstreamTasksSkipped

from nightgate.errors import InputError, Unavailable
from nightgate.orchestration import queues
from nightgate.orchestration.ending import translated
from nightgate.orchestration.hosts import known, queue
from nightgate.orchestration.links import address
from nightgate.orchestration.noting import NOTE
from nightgate.orchestration.tasks import LONG, MEASURE, OUTLAST, POOLS, SHORT, WORK, name_services, store_url

log = logging.getLogger(__name__)


@task(execution_timeout=SHORT, **OUTLAST)
def look(host: str | None = None) -> list[dict[str, Any]]:
    """Replay the past of every series up to each night that is to be watched, and see what of it stands out.

    Args:
        host: whose nights; None for those of any host.
    """
    from nightgate import watching

    context, nights = get_current_context(), list[dict[str, Any]]()
    with translated():
        for asked in _asked(context, host):
            looked = watching.look(_store(), asked["run_id"], _wish(asked))
            found = watching.candidates(looked)
            _say(looked, found, asked["rounds"])
            pairs = sorted({(one.key.benchmark, one.key.device) for one in found})
            nights.append({**asked, "pairs": [list(pair) for pair in _served(pairs, host)]})
    wanted = {f"confirm.{benchmark}.{device}" for night in nights for benchmark, device in night["pairs"]}
    others = [name for name in context["dag"].task_ids if name.startswith("confirm.") and name not in wanted]
    if others:
        context["ti"].xcom_push(BaseXCom.XCOM_RETURN_KEY, nights)
        raise DownstreamTasksSkipped(tasks=others)  # type: ignore[no-untyped-call]
    return nights


def _say(looked: Any, found: Sequence[Any], rounds: int) -> None:
    from nightgate import watching
    from nightgate.telling import standing_out

    replayed = looked.replayed
    log.info("%s: %d series over %d nights", looked.run.run_id, len(looked.followed), replayed.nights)
    if learning := sum(course.usual(None) is None for course in replayed.suite.courses.values()):
        log.info("%d of them have too few nights yet to say what is usual", learning)
    log.info(
        "in these nights %d regressions and %d improvements were confirmed; what becomes better by chance tells how often something becomes "
        "worse by chance",
        replayed.alerts,
        replayed.better,
    )
    for key, power in watching.powers(looked, rounds).items():
        log.info("%s: %s", key, power)
    for one in found:
        log.info("%s", standing_out(one))


def _served(pairs: Sequence[tuple[str, str]], host: str | None) -> list[tuple[str, str]]:
    """Those of ``pairs`` whose queue some worker serves."""
    gone = set(queues.unserved({queue(device, host) for _, device in pairs}))
    for benchmark, device in pairs:
        if queue(device, host) in gone:
            log.warning(
                "%s on %s is not measured beside its control: no worker serves %s",
                benchmark,
                device,
                queue(device, host),
            )
    return [pair for pair in pairs if queue(pair[1], host) not in gone]


def _asked(context: Any, host: str | None) -> list[dict[str, Any]]:
    """The runs to look at and what is wanted of the watch: the one that the form names, or of those that triggered it the newest
    of each suite."""
    params = dict(context["params"])
    events = [event for of in (context.get("triggering_asset_events") or {}).values() for event in of]
    newest: dict[str, dict[str, Any]] = {}
    for event in sorted(events, key=lambda event: event.timestamp):
        if event.extra.get("run_id") and _of_host(event.extra.get("dag_id", ""), host):
            newest[event.extra["suite"]] = event.extra
    if run_id := params.get("run_id"):
        return [_asked_of(run_id, {}, params)]
    if not newest and not events:
        raise InputError("no night is named", "trigger it with run_id, or let a nightly trigger it")
    return [_asked_of(said["run_id"], said.get("watch") or {}, params) for said in newest.values()]


def _asked_of(run_id: str, wish: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    from nightgate.suite import Watch

    return {"run_id": run_id} | {
        key: params.get(key) or value for key, value in Watch.model_validate(wish).model_dump().items()
    }


def _of_host(dag_id: str, host: str | None) -> bool:
    """Whether the nights of a DAG are for this watch: those of a host have its name at the end."""
    return dag_id.endswith(f".{host}") if host else not any(dag_id.endswith(f".{one}") for one in known())


def confirming(devices: Mapping[str, Sequence[str]], asked: Any, host: str | None) -> TaskGroup:
    """A task for each benchmark and its ``devices``, which measures what stands out in turns with its frozen control."""
    with TaskGroup("confirm") as all_of_them:
        for benchmark, of in devices.items():
            with TaskGroup(benchmark):
                for device in of:
                    _confirm(benchmark, device, asked, host)
    return all_of_them


def _confirm(benchmark: str, device: str, asked: Any, host: str | None) -> Any:
    place = queue(device, host)

    @task(
        task_id=device,
        execution_timeout=LONG,
        pool=place,
        pool_slots=POOLS[device],
        queue=place,
        weight_rule="absolute",
        priority_weight=MEASURE,
        **WORK,
    )
    def confirm(nights: list[dict[str, Any]]) -> int:
        """Measure what stands out in turns with its control; skipped where nothing does."""
        from nightgate import watching

        mine = [asked for asked in nights if [benchmark, device] in asked["pairs"]]
        if not mine:
            raise AirflowSkipException(f"nothing of {benchmark} on {device} stands out")
        name_services()
        with translated():
            found = [watching.confirm(_store(), asked["run_id"], _wish(asked), benchmark, device) for asked in mine]  # type: ignore[arg-type]
        return sum(found)

    return confirm(asked)


def alerting(notify: Sequence[BaseNotifier]) -> Any:
    """The task that says what came of it, and tells people what they do not know yet."""

    @task(execution_timeout=SHORT, trigger_rule=TriggerRule.ALL_DONE, **OUTLAST)
    def alert(nights: list[dict[str, Any]] | None) -> None:
        """Say what came of it, and tell people what they do not know yet."""
        from nightgate import telling, watching

        if not nights:
            raise AirflowSkipException("there is no night to speak of")
        context, store, noted = get_current_context(), _store(), list[str]()
        with translated():
            for asked in nights:
                looked = watching.look(store, asked["run_id"], _wish(asked))
                said = telling.outcomes(looked) or ["Nothing stands out."]
                noted += [f"{asked['run_id']}: {line}" for line in said]
                for line in said:
                    log.info("%s", line)
                context["ti"].xcom_push(NOTE, "\n\n".join(noted))
                send(telling.of_watch(store, looked), looked.run.suite, looked.run.dag_id, looked.run.run_id, notify)

    return alert


def telling_of(notify: Sequence[BaseNotifier]) -> Any:
    """The task of a nightly that tells people of its verdicts what they do not know yet."""

    @task(execution_timeout=SHORT, **OUTLAST)
    def tell(plan: dict[str, Any] | None) -> None:
        """Tell people of the verdicts what they do not know yet."""
        from nightgate import telling

        if not plan:
            raise AirflowSkipException("the run was refused, so there is nothing to tell")
        store = _store()
        with translated(final=True):
            summary = store.summary(plan["run_id"])
            if summary is None:
                raise Unavailable("the run was not judged")
            send(telling.of_night(store, summary), summary.suite, summary.dag_id, summary.run_id, notify)

    return tell


def send(news: Sequence[Any], suite: str, dag_id: str, run_id: str, notify: Sequence[BaseNotifier]) -> None:
    """Tell people, and remember that they know; where nobody is to be told it stands on the board alone."""
    from nightgate.orchestration.notifying import tell
    from nightgate.publish.messages import Message
    from nightgate.results import alerts

    if not news:
        log.info("there is nothing that was not told before")
        return
    message = Message(suite, run_id, address(dag_id, run_id), news)
    log.info("%s\n%s", message.subject, message.text())
    store = _store()
    if tell(message, get_current_context(), notify, partial(alerts.told_by, store)) == 0:
        log.info(
            "nobody is to be told: there is neither a notifier nor a connection nightgate_alerts_mail or nightgate_alerts_webhook"
        )
    alerts.told(store, news)


def _wish(asked: dict[str, Any]) -> Any:
    from nightgate.suite import Watch

    return Watch(alerts_a_year=asked["alerts_a_year"], rounds=asked["rounds"])


def _store() -> Any:
    from nightgate.results.store import Store

    url = store_url()
    if url is None:
        raise Unavailable("there is no Airflow connection nightgate_results, and so no history")
    return Store(url)
