"""Put the dashboards of a project and the breaches of its runs into Grafana.

client.py       one connection: the token, retries, one deadline for everything
tries.py        trying again, and for how long
access.py       the address and the token, and where neither must appear
causes.py       why a request came to nothing
whereabouts.py  where Grafana is, when it is not at GRAFANA_URL
errors.py       what Grafana refuses, and what to do about it
stored.py       what both of its APIs say about a dashboard
legacy.py       folders and dashboards through /api
apps.py         the same through /apis, for a Grafana that no longer has /api/dashboards/db
content.py      what is sent, and how it differs from what is stored
upload.py       read, compare, write, read back
annotations.py  each breach on the dashboard, once
night.py        all of it after a run, or as a dry run
"""

from nightgate.publish.grafana.client import Client
from nightgate.publish.grafana.errors import GrafanaError
from nightgate.publish.grafana.night import dry_run, publish
from nightgate.publish.grafana.upload import Uploaded, upload_dashboard
from nightgate.publish.lint import check

__all__ = ["Client", "GrafanaError", "Uploaded", "check", "dry_run", "publish", "upload_dashboard"]
