"""Who may use the stack that is up."""

from __future__ import annotations

import json
import os

import pytest

from nightgate.errors import InputError
from nightgate.stack import supervisor
from nightgate.stack.lock import StackLock


@pytest.fixture
def is_up(tmp_path):
    """A stack that is up with the suite /srv/one.yaml."""
    lock = StackLock(tmp_path)
    lock.acquire("up")
    lock.publish(ready=True, url="http://x", user="admin", suite="/srv/one.yaml")
    yield tmp_path
    lock.release()


def test_a_stack_that_is_up_with_the_same_suite_is_used(is_up, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_SUITE", "/srv/one.yaml")
    state = supervisor.up(is_up, None)
    assert (state["url"], state["pid"]) == ("http://x", os.getpid())
    assert json.loads((is_up / "stack.json").read_text()) == state


def test_one_with_another_suite_is_not(is_up, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_SUITE", "/srv/two.yaml")
    with pytest.raises(InputError) as caught:
        supervisor.up(is_up, None)
    assert str(caught.value) == (
        "the stack that is up has the suite /srv/one.yaml, not /srv/two.yaml. "
        "Next step: stop it with `nightgate down`, or use its suite"
    )


def test_one_that_does_not_say_its_suite_is_used(monkeypatch):
    monkeypatch.setenv("NIGHTGATE_SUITE", "/srv/two.yaml")
    assert supervisor.check_suite({"url": "http://x"}) is None
