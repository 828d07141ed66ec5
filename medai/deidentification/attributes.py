"""What becomes of a DICOM attribute: the standard's table, and a rule for whatever it does not name.

The table is that of DICOM PS3.15 Annex E.1-1 (edition 2026c), basic profile, as the package dicom-anonymizer keeps it.
Where it offers several actions, the strongest is taken: what may be removed is removed. Two of the standard's options
change it: dates are moved (113107), and sex, age, size, weight, smoking, pregnancy and neutering stay (113108).

The standard keeps what its table does not name. Here such an attribute stays only where it cannot hold a name, and so
does an attribute that the table would let stay:

- an attribute that the standard does not know, of a private group, of the commands (0000), of curves (50xx) or overlays
  (60xx) goes: PS3.15 E.1-1 lets the first stay, and names of the last two groups the data and comments alone;
- a text (AE LO LT PN SH ST UC UR UT) goes: any may be typed by hand. PS3.15 E.3.5 (clean descriptors) asks for as much;
- a code string stays if it is a term of the standard (``medai.vocabularies.dicom``), a code if its scheme's dictionary
  has it, with that dictionary's meaning and not the file's;
- a UID that is not of the standard's own dictionary (PS3.6 Annex A) is replaced, wherever it stands;
- numbers stay where they are as many as the dictionary says; bytes only where they are pixels or tables of levels;
- an attribute whose type is not the dictionary's (a name in a number's place) goes.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import NamedTuple

TABLE = "dicomfields_2026c"

TEXTS = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
NUMBERS = frozenset({"US", "SS", "UL", "SL", "FL", "FD", "UV", "SV", "AT"})
MOMENTS = frozenset({"DA", "DT", "TM"})

PATIENT_NAME, PATIENT_ID, BIRTH_DATE = 0x00100010, 0x00100020, 0x00100030
ACCESSION, STUDY_ID = 0x00080050, 0x00200010
MANUFACTURER, IMAGE_TYPE, ORIENTATION, CHARACTERS = 0x00080070, 0x00080008, 0x00200020, 0x00080005
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_LEVELS = frozenset({0x00283006, *range(0x00281201, 0x00281205), *range(0x00281221, 0x00281225)})
_OFFSETS = frozenset({0x7FE00001, 0x7FE00002})
"""Where compressed frames begin: made anew, since frames change their length."""
_CHARACTERISTICS = frozenset(
    {0x00100040, 0x00101010, 0x00101020, 0x00101030, 0x001021A0, 0x001021C0, 0x00102203}
)  # sex, age, size, weight, smoking, pregnancy, neutered: PS3.15 E.3.6, those of them that are no free text
_UNMOVED = frozenset(
    {
        BIRTH_DATE, 0x00100032, 0x00080201,  # of the patient, and the zone that tells the place
        *range(0x00181200, 0x00181206), 0x0014407C, 0x0014407E, 0x0018700C, 0x0018700E,  # of the device
    }
)  # fmt: skip
_EMPTIED = frozenset({BIRTH_DATE, STUDY_ID, 0x00080090, MANUFACTURER, 0x00201040, 0x00180010})
"""Type 2 in the modules of images: there, without a value."""
_LINKS = frozenset({0x00081140, 0x00082112})
"""Referenced and source images: cleaned, so that pictures still point to each other."""


class Action(Enum):
    """What is done with an attribute."""

    KEEP = "kept"
    CHECK = "kept as a term of the standard"
    MOVE = "date moved"
    PSEUDONYM = "pseudonym"
    UID = "UID replaced"
    CLEAN = "sequence cleaned"
    EMPTY = "emptied"
    DUMMY = "dummy value"
    REMOVE = "removed"


class Rule(NamedTuple):
    """An action, and by which authority."""

    action: Action
    why: str


@cache
def table() -> dict[int, str]:
    """Tag → letter of PS3.15 Annex E.1-1: X, Z, D, U, or several."""
    from importlib import import_module

    database = import_module(f"dicomanonymizer.dicom_anonymization_databases.{TABLE}")
    letters: dict[int, str] = {}
    for name in ("X", "Z", "D", "U", "Z_D", "X_Z", "X_D", "X_Z_D", "X_Z_U_STAR"):
        for tag in getattr(database, f"{name}_TAGS"):
            if len(tag) == 2:  # the groups that repeat go whole
                letters[tag[0] << 16 | tag[1]] = name.replace("_", "/")
    return letters


def rule_of(tag: int, kind: str) -> Rule:
    """What becomes of an attribute.

    Args:
        tag: group and element as one number.
        kind: its value representation, as the file says it.
    """
    group = tag >> 16
    if group & 1:
        return Rule(Action.REMOVE, "private")
    if group < 8:
        return Rule(Action.REMOVE, "command or file meta")
    if group & 0xFF00 in (0x5000, 0x6000):
        return Rule(Action.REMOVE, "curve or overlay")
    known = _known(tag)
    if known is None:
        return Rule(Action.REMOVE, "unknown to the standard")
    if kind not in (known[0], *known[0].split(" or ")):
        return Rule(Action.REMOVE, "another type than the standard's")
    if tag in (PATIENT_ID, PATIENT_NAME, ACCESSION):
        return Rule(Action.PSEUDONYM, "profile")
    if tag in _EMPTIED and tag != MANUFACTURER:
        return Rule(Action.EMPTY, "profile")
    if tag in _CHARACTERISTICS:
        return Rule(Action.CHECK, "patient characteristics")
    if kind in MOMENTS and tag not in _UNMOVED:
        return Rule(Action.MOVE, "modified dates")
    return _listed(table()[tag], tag, kind) if tag in table() else _unlisted(tag, kind)


def _listed(letters: str, tag: int, kind: str) -> Rule:
    why = "profile"
    if kind == "SQ":
        return Rule(Action.CLEAN if tag in _LINKS else Action.REMOVE, why)
    if kind == "UI" and letters != "X":
        return Rule(Action.UID, why)
    if letters.startswith("X") or kind not in TEXTS | {"CS"}:
        return Rule(Action.REMOVE, why)
    return Rule(Action.DUMMY if letters == "D" else Action.EMPTY, why)


def _unlisted(tag: int, kind: str) -> Rule:
    why = "not in the table"
    if tag in PIXELS | _LEVELS:
        return Rule(Action.KEEP, why)
    if kind == "SQ":
        return Rule(Action.CLEAN, why)
    if kind == "UI":
        return Rule(Action.UID, why)
    if kind in NUMBERS | {"CS", "DS", "IS", "AS"} and tag != CHARACTERS:
        return Rule(Action.CHECK, why)
    return Rule(Action.CHECK if tag == MANUFACTURER else Action.REMOVE, why)


@cache
def _known(tag: int) -> tuple[str, str] | None:
    """Type and number of values in the standard's dictionary."""
    from pydicom.datadict import DicomDictionary

    entry = DicomDictionary.get(tag)
    return None if entry is None else (str(entry[0]), str(entry[1]))


def values_allowed(tag: int) -> int | None:
    """The most values that an attribute may have; None where the dictionary sets no end."""
    known = _known(tag)
    last = (known[1] if known else "1").rpartition("-")[2]
    return int(last) if last.isdigit() else None


@cache
def meaning_of(scheme: str, code: str) -> str | None:
    """The meaning of a code in its scheme's own dictionary; None where that has no such code."""
    return _meanings().get((scheme, code))


@cache
def _meanings() -> dict[tuple[str, str], str]:
    from pydicom.sr._concepts_dict import concepts

    return {
        (scheme, code): str(told[0])
        for scheme, keywords in concepts.items()
        for codes in keywords.values()
        for code, told in codes.items()
    }
