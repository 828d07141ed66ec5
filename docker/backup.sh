#!/bin/sh
# A copy of everything into docker/backups (or MEDAI_BACKUPS), named by the hour, while the services run.
# It holds patients' data and keys: keep it as you keep those.
set -eu
cd "$(dirname "$0")"
docker compose --file compose.yaml run --rm backup backup "/backups/$(date -u +%Y%m%dT%H%M%SZ)" "$@"
