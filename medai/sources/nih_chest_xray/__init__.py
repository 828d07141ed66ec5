"""ChestX-ray14: chest radiographs of the NIH Clinical Center (Wang X, et al. ChestX-ray8. CVPR 2017), as published.

    Data_Entry_2017_v2020.csv (or an older release)     a row a picture
    images/ or images_001/ … images_012/                PNG, directly in each folder or in another ``images`` inside
    train_val_list.txt, test_list.txt                   the publisher's sides, by patient

Each picture of the table that lies on disk becomes one row, by these rules:

- Fourteen findings are as many label columns, named as the publisher names them, in lower case; ``no_finding`` is 1
  where all of them are 0. The labels were mined from reports by their publisher; they are no radiologist's reading.
- The subject is the publisher's patient; a row whose picture is named after another patient is left out and counted.
- Age in whole years (90 for all over 89), age band, sex, view position and follow-up number are columns of the images
  table. Ages that cannot be are kept as they are, so that validation sets them aside.
- The lists give ``publisher_role`` train and test. Without them there is none.
- A subset of the twelve archives is normal: rows without a picture, and pictures without a row, are counted.

    listing     the table and the lists
    finding     the folders of pictures
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medai.errors import DataRefused
from medai.records import sha256_of
from medai.sources.ages import band_of
from medai.sources.files import token_of
from medai.sources.image_folder.finding import find_unlabelled
from medai.sources.nih_chest_xray import finding, listing
from medai.sources.pictures.decoding import LIBRARIES
from medai.sources.pictures.listed import Cached, read_listed
from medai.sources.pictures.tables import Entry
from medai.tables import Facts

__all__ = ["LIBRARIES", "SHAPE", "VERSION", "NIHChestXray", "raw_files", "read"]

VERSION = 2
SHAPE: Literal["images", "events"] = "images"

NO_FINDING = "no_finding"
LABELS = {finding.lower(): "int64" for finding in listing.FINDINGS} | {NO_FINDING: "int64"}
ATTRIBUTES = {"age": "int32", "age_band": "string", "sex": "string", "view": "string", "follow_up": "int32"}


class NIHChestXray(Cached):
    """The published set, or some of its twelve archives.

    Attributes:
        labelled: False for pictures to predict: one picture, or a folder of them; a picture of the publisher's names
            tells its patient.
    """

    kind: Literal["nih_chest_xray"]
    labelled: bool = True

    def unlabelled(self) -> NIHChestXray:
        """The same pictures without table and lists, in any folder."""
        return self.model_copy(update={"labelled": False})


def raw_files(config: NIHChestXray, path: Path) -> list[tuple[str, Path]]:
    """The table, the lists and every picture; for prediction, every file in the folder.

    Raises:
        DataRefused: no table, several, one list of the two, no picture, or a link that leaves the data.
    """
    if not config.labelled:
        found = find_unlabelled(path).files
        return [(f"{token_of(sha256_of(file.place.rpartition('/')[0]))}/*", file.path) for file in found]
    pictures = finding.pictures_below(path)
    lists = listing.lists_of_archive(path)
    return [
        ("table", listing.table_of_archive(path)),
        *((f"{role}_list", file) for role, file in lists.items()),
        *(("pictures/*", file) for _, file in sorted(pictures.items())),
    ]


def read(config: NIHChestXray, path: Path, folder: Path) -> Facts:
    """Write images, labels, identifiers, picture_identifiers and ``pixels.npy``.

    The pixels are uint8, pictures × height × width × channels, by row_id.

    Raises:
        DataRefused: as ``raw_files``; a finding that is not known, a picture with two different rows or on both lists.
    """
    if not config.labelled:
        return _read_unlabelled(config, path, folder)
    pictures = finding.pictures_below(path)
    listed = listing.read_listing(path)
    rows = [row for row in listed.rows if row.name in pictures]
    if not rows:
        raise DataRefused(
            "no picture of the table is there",
            expected="pictures that Data_Entry_2017 names",
            received=f"{len(pictures)} pictures, none of them among its {len(listed.rows)} rows",
            action="unpack the archives beside the table that belongs to them",
        )
    facts = read_listed(
        config.kind,
        config,
        [pictures[row.name] for row in rows],
        [_entry(row) for row in rows],
        folder,
        labels=LABELS,
        attributes=ATTRIBUTES,
        view="view",
    )
    absent = {
        "in_table_not_on_disk": len(listed.rows) - len(rows),
        "on_disk_not_in_table": len(pictures) - len(rows),
    }
    counts = facts.counts | listed.counts | {reason: count for reason, count in absent.items() if count}
    return facts.model_copy(update={"counts": counts, "dropped": {"images": listed.dropped} if listed.dropped else {}})


def _entry(row: listing.Listed) -> Entry:
    shown = [int(finding in row.findings) for finding in listing.FINDINGS]
    return Entry(
        place=row.name,
        role=row.role,
        subject=row.patient,
        labels=(*shown, int(not row.findings)),
        attributes=(row.age, band_of(row.age), row.sex, row.view, row.follow_up),
    )


def _read_unlabelled(config: NIHChestXray, path: Path, folder: Path) -> Facts:
    found = find_unlabelled(path).files
    names = [listing.NAME.fullmatch(file.path.name) for file in found]
    entries = [
        Entry(
            place=file.place,
            role=file.role,
            subject=str(int(name["subject"])) if name else None,
            labels=(None,) * len(LABELS),
            attributes=(None,) * len(ATTRIBUTES),
        )
        for file, name in zip(found, names, strict=True)
    ]
    files = [file.path for file in found]
    return read_listed(
        config.kind, config, files, entries, folder, labels=LABELS, attributes=ATTRIBUTES, labelled=False
    )
