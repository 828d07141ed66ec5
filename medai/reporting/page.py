"""``report``: one self-contained HTML page of a run; it needs no network and names no patient."""

from __future__ import annotations

import base64
from pathlib import Path

from medai.records import Page, sha256_of, stage_key
from medai.reporting.content import Content
from medai.workspace import Made, Workspace

VERSION = 1
TITLES = {
    "roc": "Receiver operating characteristic",
    "precision_recall": "Precision and recall",
    "calibration": "Calibration",
    "confusion": "Confusion matrix",
    "training": "Training",
}


def write_page(workspace: Workspace, content: Content) -> Made[Page]:
    """Write the page of a run."""
    template = Path(__file__).with_name("page.html")
    key = stage_key(
        "report",
        VERSION,
        {"content": sha256_of(content.model_dump(mode="json")), "template": sha256_of(template.read_text())},
        None,
        ("jinja2",),
    )

    def build(folder: Path) -> Page:
        from jinja2 import Environment, StrictUndefined

        from medai.measurement.metrics import in_order

        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        drawn = workspace.folder("draw", content.figures.key)
        figures = {
            TITLES[name]: "data:image/svg+xml;base64," + base64.b64encode((drawn / file).read_bytes()).decode()
            for name, file in content.figures.files.items()
        }
        page = environment.from_string(template.read_text()).render(run=content, figures=figures, in_order=in_order)
        (folder / "report.html").write_text(page)
        return Page(key=key, file="report.html")

    return workspace.materialise("report", key, Page, build)
