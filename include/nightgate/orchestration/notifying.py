"""People are told: by the notifiers a DAG was given, and by two connections that need only be there.

    nightgate_alerts_mail     type smtp; its extra says ``from_email`` and ``to``
    nightgate_alerts_webhook  type http; the message is posted there as JSON, its password is a bearer token

A notifier is anything of Airflow's kind (`airflow.sdk.BaseNotifier`); what it sends may say ``{{ nightgate.subject }}``,
``{{ nightgate.text }}``, ``{{ nightgate.markdown }}``, ``{{ nightgate.html }}`` and ``{{ nightgate.json }}``.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from airflow.sdk import BaseNotifier, Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from nightgate.errors import InputError, ServiceUnavailable
from nightgate.publish.messages import Message
from nightgate.results.alerts import News

log = logging.getLogger(__name__)

MAIL, WEBHOOK = "nightgate_alerts_mail", "nightgate_alerts_webhook"
_SECONDS = 20.0


class Webhook(BaseNotifier):
    """Posts a message as JSON to the address of an Airflow connection of type http."""

    template_fields = ("conn_id",)

    def __init__(self, conn_id: str = WEBHOOK, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id

    def notify(self, context: Any) -> None:
        import requests

        known = Connection.get(self.conn_id)
        headers = {"Content-Type": "application/json"}
        if known.password:
            headers["Authorization"] = f"Bearer {known.password}"
        answer = requests.post(_address(known), data=context["nightgate"]["json"], headers=headers, timeout=_SECONDS)
        answer.raise_for_status()


def tell(
    message: Message,
    context: Mapping[str, Any],
    given: Sequence[BaseNotifier],
    told_by: Callable[[str, Sequence[News]], None],
) -> int:
    """Send ``message`` by all notifiers, by each what it has not told yet; returns how many there are.

    Args:
        told_by: is called with the name of each that has told, and what.

    Raises:
        ServiceUnavailable: one could not send it, after all others were tried.
    """
    notifiers, failed = dict(_named(given)), list[str]()
    for name, notifier in notifiers.items():
        news = [one for one in message.news if name not in one.told_by]
        if not news:
            continue
        its = replace(message, news=news)
        try:
            _send(notifier, its, context)
        except Exception as error:
            failed.append(f"{type(notifier).__name__}: {' '.join(str(error).split()) or type(error).__name__}")
        else:
            told_by(name, news)
            log.info("told by %s: %s", type(notifier).__name__, its.subject)
    if failed:
        raise ServiceUnavailable(
            f"people could not be told: {'; '.join(failed)}", "see the connections and servers that it names"
        )
    return len(notifiers)


def _send(notifier: BaseNotifier, message: Message, context: Mapping[str, Any]) -> None:
    forms = {
        "subject": message.subject,
        "text": message.text(),
        "markdown": message.markdown(),
        "html": message.html(),
        "json": json.dumps(message.json()),
    }
    one, its = copy.copy(notifier), cast(Any, {**context, "nightgate": forms})
    one.render_template_fields(its)  # not by calling it: that swallows what goes wrong
    one.notify(its)


def _named(given: Sequence[BaseNotifier]) -> Iterator[tuple[str, BaseNotifier]]:
    """Each by a name that a retry finds again."""
    for place, notifier in enumerate(given):
        yield f"{type(notifier).__name__} {place}", notifier
    yield from _by_connections()


def _by_connections() -> Iterator[tuple[str, BaseNotifier]]:
    if mail := _known(MAIL):
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        extra = mail.extra_dejson
        if not extra.get("to") or not extra.get("from_email"):
            raise InputError(
                f"the connection {MAIL} does not say whom to write to",
                'add {"from_email": "…", "to": "…"} to its extra',
            )
        yield (
            MAIL,
            SmtpNotifier(
                smtp_conn_id=MAIL,
                from_email=extra["from_email"],
                to=extra["to"],
                subject="{{ nightgate.subject }}",
                html_content="{{ nightgate.html }}",
            ),
        )
    if _known(WEBHOOK):
        yield WEBHOOK, Webhook()


def _known(name: str) -> Any:
    try:
        return Connection.get(name)
    except AirflowNotFoundException:
        return None


def _address(known: Any) -> str:
    """Of a connection of type http, with or without its parts."""
    host = known.host or ""
    if "://" in host:
        base = host
    else:
        scheme = known.schema or "http"
        base = f"{scheme}://{host}" + (f":{known.port}" if known.port else "")
    endpoint = (known.extra_dejson or {}).get("endpoint", "")
    return f"{base.rstrip('/')}/{endpoint.lstrip('/')}" if endpoint else base
