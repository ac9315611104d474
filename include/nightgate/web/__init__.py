"""The board that Airflow shows, and /metrics."""
