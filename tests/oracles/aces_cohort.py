"""The cohort of a definition by ACES itself. Runs in the environment of tests/oracles/aces.lock, not in medai's.

Usage: aces_cohort.py DEFINITION.yaml EVENTS.parquet OUT.parquet
"""

from __future__ import annotations

import sys

from aces.config import TaskExtractorConfig
from aces.predicates import get_predicates_df
from aces.query import query
from omegaconf import OmegaConf


def main(definition: str, events: str, out: str) -> None:
    """Write subject_id, trigger, index_timestamp and label (how often it was met)."""
    config = TaskExtractorConfig.load(definition)
    predicates = get_predicates_df(config, OmegaConf.create({"standard": "meds", "path": events}))
    found = query(config, predicates)
    kept = [name for name in ("subject_id", "trigger", "index_timestamp", "label") if name in found.columns]
    found.select(kept).write_parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
