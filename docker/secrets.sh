#!/bin/sh
# Random secrets for compose.yaml, each a file that its owner alone can read; what is there stays.
# The containers run as that owner, whose numbers go to docker/.env: a mounted secret keeps its owner and mode.
set -eu
umask 077
cd "$(dirname "$0")"
user=$(id -u) group=$(id -g)
if [ "$user" = 0 ]; then user=10001 group=10001; fi
word() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
# Empty is not there: a server that is told an empty secret asks for none.
keep() { if [ ! -s "secrets/$1" ]; then printf '%s\n' "$2" > "secrets/$1"; echo "made docker/secrets/$1"; fi; }
mkdir -p secrets backups data
keep postgres_password "$(word)"
keep prefect_database "*:*:*:prefect:$(word)"
keep mlflow_database "*:*:*:mlflow:$(word)"
keep prefect_auth "medai:$(word)"
[ "$(id -u)" != 0 ] || chown -R "$user:$group" secrets backups data
touch .env
for setting in "MEDAI_UID=$user" "MEDAI_GID=$group"; do
  grep -q "^${setting%%=*}=" .env || echo "$setting" >> .env
done
