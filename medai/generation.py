"""``generate``: files in a publisher's layout with a planted signal, read back by the same reader as real ones."""

from __future__ import annotations

import zlib
from pathlib import Path

from medai.records import Generated, stage_key
from medai.sources.synthetic import AnySynthetic
from medai.workspace import Made, Workspace

VERSION = 1
_DEFLATED = ("dicom", "hospital", "mimic3", "mimic4")
_IMAGING = ("numpy", "pydicom", "imagecodecs")
_LIBRARIES = {"ct": _IMAGING, "dicom": _IMAGING}
"""Layout → libraries whose version may change its bytes, where NumPy is not all."""


def key_of(config: AnySynthetic) -> str:
    """The name of the folder that these files have, or will have, in the workspace.

    Raises:
        ConfigurationError: a package that writes them is not installed.
    """
    if config.layout in _LIBRARIES:
        from medai.sources.dicom import need_imaging

        need_imaging()
    # Hospitals' tables and radiographs are deflated by the interpreter's zlib, whose bytes differ between builds.
    inputs = {"zlib": zlib.ZLIB_RUNTIME_VERSION} if config.layout in _DEFLATED else {}
    return stage_key("generate", VERSION, inputs, config, _LIBRARIES.get(config.layout, ("numpy",)))


def generate(workspace: Workspace, config: AnySynthetic) -> Made[Generated]:
    """Write the generator's files into the workspace, once for each configuration.

    Problems with equal ``data:`` share the folder; each may name the part that it reads (``inputs.*.location``).
    """
    key = key_of(config)

    def build(folder: Path) -> Generated:
        from medai.sources import synthetic

        path = synthetic.generate(config, folder)
        return Generated(key=key, layout=config.layout, path=path.relative_to(folder).as_posix())

    return workspace.materialise("generate", key, Generated, build)
