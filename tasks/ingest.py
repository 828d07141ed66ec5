"""``ingest``: raw files, read once."""

from medai import ingestion
from tasks.stage import stage

ingest = stage(ingestion.ingest, timeout_hours=24)
