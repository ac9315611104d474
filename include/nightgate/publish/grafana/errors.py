"""What Grafana refuses, and what to do about each refusal."""

from __future__ import annotations

from nightgate.errors import ServiceUnavailable

NEXT_STEP = {
    400: "mend what Grafana names",
    401: "GRAFANA_TOKEN is not accepted: make a new service account token in Grafana",
    403: "give the service account the role Editor",
    404: "check GRAFANA_URL (with its sub-path, if any)",
    409: "somebody saves the dashboard at the same moment: upload it again",
    412: "somebody else saves this dashboard, has its name, or owns it by a plugin: rename or remove theirs in Grafana",
    413: "the dashboard is larger than Grafana or its proxy accepts: remove panels or raise the limit",
    422: "Grafana cannot store this dashboard: mend what it names, most often an alert rule in a panel",
    429: "Grafana asks for fewer requests: upload again later",
}
_PLACE = {  # of what a 400 names, by the permission that was needed
    "dashboards": " in the dashboard file; a dashboard provisioned from a file cannot be uploaded too",
    "folders": " in GRAFANA_FOLDER",
}
_ELSE = "look at Grafana's log, then upload again"
_CREATE = "; a token that only has dashboards:write cannot create a dashboard, for the first upload it also needs {}"


class GrafanaError(ServiceUnavailable):
    """Grafana refused, did not answer, or is not what answered.

    Attributes:
        status: the HTTP status, None when there was no answer.
        reason: the ``status`` of Grafana's body, such as ``version-mismatch``; "" when it has none.
        unsure: nobody knows whether a write happened: look before it is repeated.
        general: the same would meet every request, so that there is no use in another.
    """

    def __init__(
        self,
        what: str,
        next_step: str | None = None,
        status: int | None = None,
        reason: str = "",
        unsure: bool = False,
        general: bool = False,
    ) -> None:
        super().__init__(what, next_step)
        self.status, self.reason, self.unsure, self.general = status, reason, unsure, general

    @property
    def conflict(self) -> bool:
        """Whether reading the dashboard again and writing on top of what is there now may help."""
        return self.status in (409, 412) and self.reason not in ("name-exists", "plugin-dashboard")

    @property
    def gone(self) -> bool:
        """Whether the path itself may have been removed from the server."""
        return self.status in (404, 410)


def next_step(status: int, needs: str, message: str = "") -> str:
    """What to do about a status.

    Args:
        needs: the permission of what was tried, such as ``dashboards:create``.
        message: Grafana's own.
    """
    step = NEXT_STEP.get(status, _ELSE)
    if status == 400:
        return step + _PLACE.get(needs.partition(":")[0], "")
    if status == 403 and "namespace" in message.lower():
        return "make the token in Grafana's first organization: /apis is used in no other"
    if status != 403 or not needs:
        return step
    return f"{step}, or the permission {needs}" + (_CREATE.format(needs) if needs == "dashboards:create" else "")
