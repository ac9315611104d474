"""The embedded stack: PostgreSQL clusters, the Airflow processes, one start and one stop."""
