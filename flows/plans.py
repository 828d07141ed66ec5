"""What Prefect's server knows of each problem: what is planned, and what became of the last runs.

Asked over its HTTP interface, so that a page that shows it need not import Prefect.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from flows.settings import Settings
from medai.overview import FlowRun, Plan

FLOWS = ("train", "retrain", "check", "predict", "monitor", "label", "evaluate", "watch")
RETRAINING = ("retrain", "train")
"""Flows of schedules; the second had those of medai before retraining had a flow of its own."""
SHOWN = 8
"""Runs of a problem that are told, the newest first."""
LOOKED_AT = 200
"""The server's own limit of one answer."""
PATIENCE = 3.0
"""Seconds for one answer: a page waits for it."""
UNCHANGED = "Unchanged"
"""The state of a look that saw no new data (``flows.arrivals``)."""
PREFIXES = ("retrain-", "watch-")
"""Of the names of deployments; a problem's name follows."""


_TAG = "medai.problem."


def tag_of(problem: str) -> str:
    """By which Prefect's server finds the runs of a problem, however it was called."""
    return _TAG + problem


class Unanswered(Exception):
    """Prefect's server does not answer, or not as it should."""


def plans(api_url: str, settings: Settings, problems: Iterable[str]) -> dict[str, Plan]:
    """Problem → what is planned for it and what was run; also for problems that only have a deployment.

    Raises:
        Unanswered: there is no plan to tell.
    """
    import httpx

    headers = {}
    if settings.prefect_auth is not None:
        word = base64.b64encode(settings.prefect_auth.get_secret_value().encode()).decode()
        headers["Authorization"] = f"Basic {word}"
    page = settings.prefect_page or api_url.removesuffix("/api")
    try:
        with httpx.Client(base_url=f"{api_url}/", headers=headers, timeout=PATIENCE, trust_env=False) as client:
            return _plans(client, page, set(problems))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError, LookupError, AttributeError) as failure:
        raise Unanswered(type(failure).__name__) from failure  # of another version, or no Prefect at all


def _plans(client: Any, page: str, problems: set[str]) -> dict[str, Plan]:
    deployments = _asked(client, "deployments/filter", {"limit": LOOKED_AT})
    flows = _asked(client, "flows/filter", {"flows": {"name": {"any_": list(FLOWS)}}, "limit": LOOKED_AT})
    due = _asked(
        client,
        "flow_runs/filter",
        {
            # Looks for data come every few minutes: the next of them would stand where the retraining is asked for.
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
            "flows": {"name": {"any_": list(RETRAINING)}},
            "sort": "EXPECTED_START_TIME_ASC",
            "limit": LOOKED_AT,
        },
    )
    began = _asked(
        client,
        "flow_runs/filter",
        {
            # A look every few minutes that saw nothing would hide all others.
            "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}, "name": {"not_any_": [UNCHANGED]}}},
            "flows": {"name": {"any_": list(FLOWS)}},
            "sort": "START_TIME_DESC",
            "limit": LOOKED_AT,
        },
    )
    of = {one["id"]: _problem(one["name"]) for one in deployments}
    names = problems | {name for name in of.values() if name}
    called = {one["id"]: one["name"] for one in flows}
    return {
        name: Plan(
            schedules=tuple(
                sorted(_schedule(one) for one in deployments if of[one["id"]] == name and one.get("schedules"))
            ),
            next=next((one["expected_start_time"] for one in due if of.get(one["deployment_id"]) == name), None),
            runs=tuple(_run(one, called, page) for one in began if of_problem(one, of, names) == name)[:SHOWN],
        )
        for name in sorted(names)
    }


def _asked(client: Any, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.post(path, json=body)
    answer.raise_for_status()
    told = answer.json()
    if not isinstance(told, list):
        raise TypeError("a list was asked for")
    return told


def _problem(deployment: str) -> str:
    return next((deployment.removeprefix(prefix) for prefix in PREFIXES if deployment.startswith(prefix)), "")


def of_problem(run: dict[str, Any], deployments: dict[str, str], names: set[str]) -> str | None:
    """Whose a run is: as its deployment or its tag says, or the problem that it was called with, if by name."""
    if run.get("deployment_id") in deployments:
        return deployments[run["deployment_id"]]
    for tag in map(str, run.get("tags") or ()):
        if tag.startswith(_TAG):
            return tag.removeprefix(_TAG)
    asked = str(run.get("parameters", {}).get("problem", ""))
    called = asked.rpartition("/")[2].removesuffix(".yaml").removesuffix(".yml")
    return called if called in names else None


def _schedule(deployment: dict[str, Any]) -> str:
    told = []
    for one in deployment["schedules"]:
        schedule = one["schedule"]
        state = "" if one.get("active", True) and not deployment.get("paused") else ", paused"
        told.append(f"{schedule.get('cron', 'interval')} {schedule.get('timezone') or 'UTC'}{state}")
    what = "looks for data" if deployment["name"].startswith("watch-") else "retrains"
    return f"{what} at {'; '.join(told)}"


def _run(run: dict[str, Any], called: dict[str, str], page: str) -> FlowRun:
    ended = run.get("end_time") is not None
    return FlowRun(
        flow=called.get(run["flow_id"], "?"),
        name=run["name"],
        state=run["state_name"] or "?",
        kind=run["state_type"] or "?",
        at=run.get("start_time") or run["created"],
        seconds=round(run["total_run_time"], 1) if ended and run.get("total_run_time") is not None else None,
        address=f"{page}/runs/flow-run/{run['id']}",
    )
