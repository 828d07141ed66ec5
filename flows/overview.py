"""``medai overview``: what stands in production here, as static pages; the pages' server tells the same, live."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from flows.governance import ledger_of
from flows.lineage import monitoring_file, report_of
from flows.plans import PATIENCE, Unanswered, plans
from flows.services.record import running
from flows.settings import Settings
from medai.errors import ConfigurationError, MedaiError
from medai.ledger import Ledger
from medai.overview import Overview, Plan
from medai.overview.gathering import gather
from medai.overview.page import problem, site
from medai.paths import expanded
from medai.workspace import make_folder, write_durably

PREFECT, MLFLOW, MONITORING, REPORT = "Prefect", "MLflow", "monitoring", "report"


def look(settings: Settings, served: bool) -> Overview:
    """The site as it stands now.

    Args:
        served: whether the pages lie on the pages' server; elsewhere links lead to files.
    """
    ledger = ledger_of(settings)
    found = running(settings)
    prefect = settings.prefect_api_url or (found and found.prefect_api_url)
    mlflow = settings.tracking_uri or (found and found.mlflow_url)
    mlflow = mlflow if mlflow and mlflow.startswith("http") else None
    try:
        problems = sorted({entry.problem for entry in ledger.entries() if entry.problem})
    except MedaiError:  # told by ``gather``
        problems = []
    planned: dict[str, Plan] = {}
    services: dict[str, str | None] = {}
    if prefect:
        try:
            planned = plans(prefect, settings, problems)
            services[PREFECT] = settings.prefect_page or prefect.removesuffix("/api")
        except Unanswered:
            services[PREFECT] = None
    if mlflow:
        services[MLFLOW] = (settings.mlflow_page or mlflow) if _answers(f"{mlflow}/health") else None
    links = {name: _links(ledger, name, services.get(MLFLOW), served) for name in problems}
    return gather(ledger, planned, links, services)


def write(settings: Settings, out: str) -> dict[str, Any]:
    """Write the pages into a folder, each whole or not at all; what else lies there stays.

    Returns:
        ``path`` of the site's page; ``problems``, the names of those told; ``overview``, all that the pages tell.

    Raises:
        ConfigurationError: the place is no folder.
    """
    folder = expanded(out).absolute()
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(
            "the pages cannot be written there",
            expected="a folder, or a place for one",
            received="a file",
            action="name another place with --out",
        )
    make_folder(folder)
    overview = look(settings, served=False)
    for view in overview.problems:
        write_durably(folder / f"problem-{view.problem}.html", problem(overview, view).encode())
    write_durably(folder / "overview.html", site(overview).encode())
    return {
        "path": str(folder / "overview.html"),
        "problems": [view.problem for view in overview.problems],
        "overview": overview.model_dump(mode="json"),
    }


def report_file(ledger: Ledger, name: str, version: int) -> Path | None:
    """The page on which a version's newest decision is explained."""
    settled = [entry.facts for entry in ledger.entries(name, "settled") if entry.facts.get("version") == version]
    return report_of(ledger.workspace, settled[-1]["candidate"], settled[-1]["decision"]) if settled else None


def is_private(path: Path) -> bool:
    """Whether a page is its owner's alone: it shows pictures or curves of patients, and no server hands it out."""
    return not path.stat().st_mode & 0o044


def _links(ledger: Ledger, name: str, mlflow: str | None, served: bool) -> dict[str, str]:
    """Pages of a problem: title → address."""
    links: dict[str, str] = {}
    here = f"/problems/{quote(name)}"
    champion = ledger.champion(name)
    report = report_file(ledger, name, champion.version) if champion else None
    if report is not None:
        links[REPORT] = report.as_uri() if not served or is_private(report) else f"{here}/report"
    windows = monitoring_file(ledger.workspace, name)
    if windows is not None:
        links[MONITORING] = f"{here}/monitoring" if served else windows.as_uri()
    if mlflow:
        links["MLflow's versions"] = f"{mlflow}/#/models/{quote(name)}"
    return links


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url, timeout=PATIENCE, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False
