"""``generate``: files in a publisher's layout with a planted signal, read back by the same reader as real ones."""

from __future__ import annotations

from pathlib import Path

from medai.records import Generated, stage_key
from medai.sources.synthetic import Synthetic
from medai.workspace import Made, Workspace

VERSION = 1


def generate(workspace: Workspace, config: Synthetic) -> Made[Generated]:
    """Write the generator's files into the workspace, once for each configuration."""
    key = stage_key("generate", VERSION, {}, config, ("numpy",))

    def build(folder: Path) -> Generated:
        from medai.sources import synthetic

        path = synthetic.generate(config, folder)
        return Generated(key=key, layout=config.layout, path=path.relative_to(folder).as_posix())

    return workspace.materialise("generate", key, Generated, build)
