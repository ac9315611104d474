"""How results leave the house: Prometheus, statsd, Grafana, the HTML report."""
