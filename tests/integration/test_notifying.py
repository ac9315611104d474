"""People are told, by a real mail server and a real webhook on loopback."""

from __future__ import annotations

import json
import logging

import pytest
from airflow.sdk import BaseNotifier
from support.listeners import mail_server, webhook

from nightgate.errors import InputError, ServiceUnavailable
from nightgate.orchestration import notifying
from nightgate.orchestration.notifying import MAIL, WEBHOOK
from nightgate.publish.messages import Message
from nightgate.results.alerts import News, Said

SAID = Said(sentence="P50 of hybrid is 9 % worse than its control.", causes=("faiss-cpu 1.0 → 1.1",))
MESSAGE = Message(
    "nightly", "run-7", "http://board/run-7", [News(id=1, kind="regression", over=False, run_id="run-7", said=SAID)]
)


def tell(message, context, given, told_by=lambda name, news: None):
    return notifying.tell(message, context, given, told_by)


@pytest.fixture
def connect(monkeypatch):
    def connected(name, **parts):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(parts))

    return connected


def mail_to(port):
    return {
        "conn_type": "smtp", "host": "127.0.0.1", "port": port,
        "extra": {"from_email": "nightgate@here", "to": "team@there", "disable_ssl": True, "disable_tls": True},
    }  # fmt: skip


def test_without_anybody_to_tell_nobody_is_told():
    assert tell(MESSAGE, {}, ()) == 0


def test_a_mail_arrives_with_its_cause(connect):
    with mail_server() as (port, got):
        connect(MAIL, **mail_to(port))
        assert tell(MESSAGE, {}, ()) == 1
    (mail,) = got
    assert mail["Subject"] == "Nightgate nightly: 1 slower or worse than before"
    assert (mail["From"], mail["To"]) == ("nightgate@here", "team@there")
    text = mail.get_body(("html", "plain")).get_content()
    assert "<li>P50 of hybrid is 9 % worse than its control.<ul><li>faiss-cpu 1.0 → 1.1</li></ul></li>" in text


def test_a_webhook_gets_json_and_its_token(connect):
    with webhook() as (port, got):
        connect(
            WEBHOOK, conn_type="http", host="127.0.0.1", port=port, password="hush", extra={"endpoint": "hooks/night"}
        )
        assert tell(MESSAGE, {}, ()) == 1
    ((path, token, told),) = got
    assert (path, token) == ("/hooks/night", "Bearer hush")
    assert told == MESSAGE.json()


def test_a_webhook_may_be_one_address(connect):
    with webhook() as (port, got):
        connect(WEBHOOK, conn_type="http", host=f"http://127.0.0.1:{port}/a/path")
        tell(MESSAGE, {}, ())
    assert [(path, token) for path, token, _ in got] == [("/a/path", None)]


def test_a_notifier_of_ones_own_gets_all_forms():
    said = []

    class Own(BaseNotifier):
        template_fields = ("text",)

        def __init__(self, text):
            super().__init__()
            self.text = text

        def notify(self, context):
            said.append((self.text, sorted(context["nightgate"]), context["more"]))

    own = Own("{{ nightgate.subject }} | {{ nightgate.markdown }}")
    for _ in range(2):
        assert tell(MESSAGE, {"more": 1}, [own]) == 1
    assert said[0] == said[1] == (
        f"{MESSAGE.subject} | {MESSAGE.markdown()}", ["html", "json", "markdown", "subject", "text"], 1,
    )  # fmt: skip
    assert own.text.startswith("{{"), "the next message has its own text"


def test_one_that_fails_is_named_and_the_others_are_told(connect, caplog):
    caplog.set_level(logging.INFO)
    with webhook(status=503) as (bad, _), mail_server() as (port, got):
        connect(MAIL, **mail_to(port))
        connect(WEBHOOK, conn_type="http", host="127.0.0.1", port=bad)
        with pytest.raises(ServiceUnavailable, match="people could not be told: Webhook: 503"):
            tell(MESSAGE, {}, ())
    assert len(got) == 1


def test_who_was_told_is_not_told_again(connect):
    """News of two runs, of which one was mailed before the webhook failed."""
    told, other = [], News(id=2, kind="breach", over=True, run_id="run-8", said=Said(sentence="P95 of hybrid holds."))
    with webhook() as (hook, posts), mail_server() as (port, mails):
        connect(MAIL, **mail_to(port))
        connect(WEBHOOK, conn_type="http", host="127.0.0.1", port=hook)
        first = MESSAGE.news[0].model_copy(update={"told_by": (MAIL,)})
        message = Message("nightly", "run-8", "http://board/run-8", [first, other])
        assert tell(message, {}, (), lambda name, news: told.append((name, [one.id for one in news]))) == 2
        again = [one.model_copy(update={"told_by": (MAIL, WEBHOOK)}) for one in message.news]
        tell(Message("nightly", "run-8", "", again), {}, (), lambda *_: told.append("again"))
    assert told == [(MAIL, [2]), (WEBHOOK, [1, 2])]
    assert [mail["Subject"] for mail in mails] == ["Nightgate nightly: 1 holds again"]
    assert [post["subject"] for _, _, post in posts] == [message.subject]


def test_who_failed_has_not_told(connect):
    told = []
    with webhook(status=503) as (bad, _):
        connect(WEBHOOK, conn_type="http", host="127.0.0.1", port=bad)
        with pytest.raises(ServiceUnavailable):
            tell(MESSAGE, {}, (), lambda *_: told.append(_))
    assert told == []


def test_a_mail_connection_must_say_whom_to_write_to(connect):
    connect(MAIL, conn_type="smtp", host="127.0.0.1", extra={"from_email": "nightgate@here"})
    with pytest.raises(InputError, match=f"the connection {MAIL} does not say whom to write to"):
        tell(MESSAGE, {}, ())
