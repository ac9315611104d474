"""The next step of each status, which addresses are refused, and what an error says of itself."""

import pytest
from contract.grafana_server import TOKEN

from nightgate.errors import InputError
from nightgate.publish.grafana import Client, GrafanaError
from nightgate.publish.grafana.errors import next_step


@pytest.mark.parametrize(
    ("status", "needs", "step"),
    [
        (400, "", "mend what Grafana names"),
        (400, "folders:create", "mend what Grafana names in GRAFANA_FOLDER"),
        (
            400,
            "dashboards:write",
            "mend what Grafana names in the dashboard file; a dashboard provisioned from a file cannot be uploaded too",
        ),
        (400, "annotations:create", "mend what Grafana names"),
        (403, "", "give the service account the role Editor"),
        (403, "folders:read", "give the service account the role Editor, or the permission folders:read"),
        (
            403,
            "dashboards:create",
            "give the service account the role Editor, or the permission dashboards:create; a token that only has "
            "dashboards:write cannot create a dashboard, for the first upload it also needs dashboards:create",
        ),
        (404, "folders:read", "check GRAFANA_URL (with its sub-path, if any)"),
        (500, "", "look at Grafana's log, then upload again"),
    ],
)
def test_the_next_step_of_a_status(status, needs, step):
    assert next_step(status, needs) == step
    assert next_step(status, needs, "namespace") == (
        "make the token in Grafana's first organization: /apis is used in no other" if status == 403 else step
    )


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://h/?orgId=2", r"has a '\?' or '#'"),
        ("http://h/#a", r"has a '\?' or '#'"),
        ("http://a b", "is not an http"),
        ("http://h:0", "is not an http"),
        ("http://h,i", "is not an http"),
    ],
)
def test_a_part_of_the_address_that_would_be_ignored_is_refused(url, problem):
    with pytest.raises(InputError, match=f"GRAFANA_URL {problem}"):
        Client(url, TOKEN)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        (" https://h/ ", "https://h"),
        ("http://[::1]:3000/g/", "http://[::1]:3000/g"),
        ("http://a_b-c.d:1", "http://a_b-c.d:1"),
        ("http://größe.example", "http://größe.example"),
        ("http://u:p@h", "http://h"),
    ],
)
def test_an_address_is_kept_as_it_is(url, base):
    assert Client(url, TOKEN).base == base


@pytest.mark.parametrize(
    ("status", "reason", "conflict", "gone"),
    [
        (409, "", True, False),
        (412, "version-mismatch", True, False),
        (412, "name-exists", False, False),
        (412, "plugin-dashboard", False, False),
        (404, "", False, True),
        (410, "", False, True),
        (500, "", False, False),
        (None, "", False, False),
    ],
)
def test_which_refusal_may_pass_by_looking_again(status, reason, conflict, gone):
    error = GrafanaError("what", "step", status, reason)
    assert (error.conflict, error.gone) == (conflict, gone)
    assert (error.what, error.next_step, error.status, error.reason) == ("what", "step", status, reason)
    assert (error.unsure, error.general) == (False, False)
