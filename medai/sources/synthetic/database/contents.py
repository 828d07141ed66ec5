"""All that is written of a block of patients, before it takes a layout's form."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medai.sources.synthetic.database import planted
from medai.sources.synthetic.database.chart import Readings, chart_of
from medai.sources.synthetic.database.codebook import charted, tested
from medai.sources.synthetic.database.course import Courses
from medai.sources.synthetic.database.csv_bytes import NEVER
from medai.sources.synthetic.database.fluids import Infusions, Outputs, fluids_of
from medai.sources.synthetic.database.laboratory import Results, results_of
from medai.sources.synthetic.database.population import BLOCK, FAULTS, Block, block_of
from medai.sources.synthetic.streams import stream_of

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.synthetic import SyntheticDatabase


@dataclass(slots=True)
class Contents:
    """A block's rows.

    Attributes:
        number: the block's.
        patients, admissions, stays: how many of the block's are written: the first.
        hadm_id: of each stay; that of an orphan exists nowhere.
        turned: stays whose end is written as their start.
        unknown, errors: rows of ``readings`` that name an unknown admission, that are marked as an error.
        counts: planted faults, and what is history: labs before, and without, an admission.
    """

    number: int
    block: Block
    patients: int
    admissions: int
    stays: int
    hadm_id: np.ndarray
    turned: np.ndarray
    readings: Readings
    unknown: np.ndarray
    errors: np.ndarray
    results: Results
    outputs: Outputs
    infusions: Infusions
    counts: Counter[str]


def contents_of(config: SyntheticDatabase, number: int) -> Contents:
    """Draw a block whole and cut it at the database's last patient: a larger database begins with a smaller one."""
    import numpy as np

    block = block_of(config, number)
    limit = min(BLOCK, config.subjects - number * BLOCK)
    faults = [stream_of(config.seed, number, FAULTS + place) for place in range(3)]
    stays = block.stays
    courses = Courses(block, config.signal)
    readings = chart_of(config, number, block, courses)
    results = results_of(config, number, block, courses)
    outputs, infusions = fluids_of(config, number, block, courses)
    wrong = planted.of_entities(config, faults[0], block, limit)

    silent = wrong.stays_with("stay_without_events")
    readings = readings.take(~silent[readings.stay])
    outputs, infusions = outputs.take(~silent[outputs.stay]), infusions.take(~silent[infusions.stay])
    results = results.take(~_within(results, block, silent))
    written = int((block.admissions.patient < limit).sum()), int((stays.patient < limit).sum())
    book, tests = charted(), tested()
    readings, unknown, errors = planted.of_chart(
        config,
        faults[1],
        readings,
        wrong.counts,
        [np.array(column) for column in (book.word, book.sentinel, book.mixed)],
        int((readings.stay < written[1]).sum()),
    )
    results = planted.of_results(
        config,
        faults[2],
        results,
        wrong.counts,
        [np.array(column) for column in (tests.word, tests.sentinel)],
        int((results.admission < written[0]).sum()),
    )
    early = results.minute < block.admissions.start[results.admission]
    wrong.counts["lab_before_admission"] += int((early & results.named).sum())
    wrong.counts["lab_without_admission"] += int((~results.named).sum())
    hadm_id = block.admissions.hadm_id[stays.admission]
    return Contents(
        number=number,
        block=block,
        patients=limit,
        admissions=written[0],
        stays=written[1],
        hadm_id=np.where(wrong.stays_with("orphan_stay"), hadm_id + planted.NOWHERE, hadm_id),
        turned=wrong.stays_with("stay_out_before_in"),
        readings=readings,
        unknown=unknown,
        errors=errors,
        results=results,
        outputs=outputs.take(outputs.stay < written[1]),
        infusions=infusions.take(infusions.stay < written[1]),
        counts=wrong.counts,
    )


def _within(results: Results, block: Block, silent: np.ndarray) -> np.ndarray:
    """Which results were drawn during the silent stays; an admission has two stays at most."""
    import numpy as np

    inside = np.zeros(len(results.minute), bool)
    for turn in (0, 1):
        start = np.full(len(block.admissions.patient), -NEVER)
        end = np.full(len(block.admissions.patient), NEVER)
        which = silent & (block.stays.turn == turn)
        start[block.stays.admission[which]] = block.stays.start[which]
        end[block.stays.admission[which]] = block.stays.end[which]
        inside |= (results.minute >= start[results.admission]) & (results.minute < end[results.admission])
    return inside


def coded(contents: Contents) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Admission, place in its list (from 1) and illness of each diagnosis that is written."""
    import numpy as np

    admission, illness = np.nonzero(contents.block.admissions.illness[: contents.admissions])
    first = np.searchsorted(admission, admission)
    return admission, np.arange(len(admission)) - first + 1, illness
