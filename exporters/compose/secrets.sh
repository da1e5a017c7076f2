#!/bin/sh
# Makes the passwords and tokens that compose.yaml wants, once, in secrets/ beside it.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets # what is in it is read by the users of the containers

word() { head -c 32 /dev/urandom | base64 | tr -dc A-Za-z0-9; }
keep() { [ -e "secrets/$1" ] || printf %s "$2" >"secrets/$1"; }
hashed() { sha256sum <"secrets/$1" | cut -c1-64; }

keep database_password "$(word)"
keep database_url "postgresql://jobmon:$(cat secrets/database_password)@postgres/jobmon"
keep grafana_password "$(word)"
keep prometheus_token "jmm_$(word)"
keep read_token "jmr_$(word)"
keep auth_tokens "prometheus:metrics:sha256:$(hashed prometheus_token),people:read:sha256:$(hashed read_token)"
chmod 644 secrets/*
