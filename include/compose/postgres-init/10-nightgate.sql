-- Runs once, when the volume is empty. The results live beside Airflow's metadata, in a database of their own.
CREATE DATABASE nightgate;
