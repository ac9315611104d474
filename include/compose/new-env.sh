#!/bin/sh
# Prints the settings of docker-compose.airflow.yaml with fresh secrets:
#   (umask 077; sh include/compose/new-env.sh > .env)
set -eu
secret() { openssl rand -hex 32; }
uid=$(id -u)
fernet_key=$(openssl rand -base64 32 | tr '+/' '-_')
cat <<END
# The user who owns ./benchmarks on this host: the workers write the results there.
AIRFLOW_UID=$uid
# gpu: one worker on the GPU of this host. no-gpu: GPU tasks skip, with the reason.
COMPOSE_PROFILES=no-gpu

# Database passwords are set when the volumes are first created; keep this file.
POSTGRES_PASSWORD=$(secret)
PGVECTOR_PASSWORD=$(secret)
REDIS_PASSWORD=$(secret)
AIRFLOW_ADMIN_PASSWORD=$(secret)
AIRFLOW_FERNET_KEY=$fernet_key
AIRFLOW_JWT_SECRET=$(secret)$(secret)
AIRFLOW_SECRET_KEY=$(secret)
NIGHTGATE_METRICS_TOKEN=$(secret)
GRAFANA_ADMIN_PASSWORD=$(secret)

# A Grafana service account token (role Editor), made in Grafana after its first start.
GRAFANA_TOKEN=
END
