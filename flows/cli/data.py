"""Data made, handed on and rewritten: ``synth``, ``export``, ``deidentify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.arguments import Data, Json, Overrides, known, load, open_ledger
from flows.cli.frame import answer
from flows.cli.server import prefect_server
from flows.shown import data as shown

if TYPE_CHECKING:
    from flows.settings import Settings

commands = typer.Typer()


@commands.command()
def synth(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="hospital, dicom, ct, lesions, mimic4, mimic3, nih, medmnist or physionet2012."
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that is absent or empty.")],
    patients: Annotated[int, typer.Option(metavar="N", help="Patients, stays or pictures.")] = 1500,
    seed: Annotated[int, typer.Option(help="Another seed makes other patients.")] = 0,
    signal: Annotated[float, typer.Option(help="How strongly the label shows: 1 plainly, 0 not at all.")] = 1.0,
    mimic_version: Annotated[str | None, typer.Option(help="Of the hospital's tables: 2.2 or 3.1.")] = None,
    faults: Annotated[
        float | None, typer.Option(help="Share of a hospital, mimic4 or mimic3 with planted faults, 0 for none.")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(metavar="NAME=SHARE", help="The share of one fault (mimic4, mimic3); repeat it.")
    ] = None,
    intensive: Annotated[
        float | None, typer.Option(help="Share of admissions with intensive care (mimic4, mimic3; 0.2).")
    ] = None,
    chart_rows_per_stay: Annotated[
        int | None, typer.Option(metavar="N", help="Mean rows of chartevents (mimic4, mimic3; 3600).")
    ] = None,
    drift: Annotated[
        float | None, typer.Option(help="How much practice changes over the years (mimic4, mimic3; 0: not at all).")
    ] = None,
    shift: Annotated[
        float | None, typer.Option(help="How far a hospital has moved from what it was, for monitoring (hospital; 0).")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="CSV in place of csv.gz (mimic4, mimic3).")] = False,
    size: Annotated[int | None, typer.Option(metavar="N", help="Pixels a side of pictures (hospital, nih).")] = None,
    exposure: Annotated[
        float | None, typer.Option(help="How much lighter a site's pictures are, as a share of white (nih; 0).")
    ] = None,
    contrast: Annotated[float | None, typer.Option(help="A site's contrast (nih; 1).")] = None,
    first_patient: Annotated[
        int | None, typer.Option(metavar="N", help="Number of the first patient, so that sites share none (nih; 1).")
    ] = None,
    archives: Annotated[
        int | None, typer.Option(metavar="N", help="Folders that pictures are put into, images_001 and so on (nih).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes for mimic4, mimic3: as many as cores, up to 8.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write generated data: a hospital with radiographs, MIMIC's tables, a radiograph archive, masks, or stays."""

    def act(_settings: Settings) -> dict[str, Any]:
        from flows.synth import rates
        from flows.synth import synth as write

        chosen = {
            "version": mimic_version,
            "faults": faults,
            "rates": rates(fault) if fault else None,
            "intensive": intensive,
            "chart_rows_per_stay": chart_rows_per_stay,
            "drift": drift,
            "shift": shift,
            "compressed": False if plain else None,
            "size": size,
            "exposure": exposure,
            "contrast": contrast,
            "first_patient": first_patient,
            "archives": archives,
        }
        options = {name: value for name, value in chosen.items() if value is not None}
        return write(kind, out, {"subjects": patients, "seed": seed, "signal": signal, **options}, workers)

    answer(act, as_json, shown.synth)


@commands.command()
def export(
    form: Annotated[
        str, typer.Argument(metavar="FORM", help="meds: the MEDS 0.4 standard; model: as it was registered and signed.")
    ],
    what: Annotated[str, typer.Argument(metavar="PROBLEM|SNAPSHOT", help="A problem, or the key of a snapshot.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A folder that is absent or empty.")],
    version: Annotated[int | None, typer.Option(metavar="N", help="Of a model; the champion when left out.")] = None,
    data: Data = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Write a problem's events, or a snapshot's, in the field's standard; or its registered model, checked."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.export import export_model, export_problem, export_snapshot, is_snapshot, refuse_before

        refuse_before(form, out)
        if form == "model":
            return export_model(settings, known(what, open_ledger(settings)), out, version)
        if is_snapshot(what):
            return export_snapshot(settings, what, out)
        question = load(what, overrides)
        with prefect_server(settings, (question, data, f"medai export meds {what}")):
            return export_problem(what, str(out), data, overrides)

    answer(act, as_json, shown.export)


@commands.command()
def deidentify(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A folder or file of DICOM; or a table, or a folder of them.")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A folder that is absent or empty; for a table, a file.")],
    key: Annotated[
        str | None, typer.Option(metavar="FILE", help="The site's secret; one is kept in MEDAI_HOME if left out.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="YAML: columns under subject, uids, dates, keep, drop … (see README); or mimic4."
        ),
    ] = None,
    regions: Annotated[
        str | None, typer.Option(metavar="FILE", help="YAML: where the site's devices write into pictures.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rewrite DICOM files and tables without who they are of, so that they still join."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.deidentify import deidentify as rewrite

        return rewrite(settings, source, out, key, columns, regions)

    answer(act, as_json, shown.deidentified)
