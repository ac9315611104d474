"""Nightgate as Airflow sees it: the trigger form and the task groups. The only floor that imports Airflow's SDK."""
