"""A new data set from an untrusted one: only what a rule names is carried over."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.deidentification import dates
from medai.deidentification.attributes import (
    ACCESSION,
    IMAGE_TYPE,
    MANUFACTURER,
    NUMBERS,
    ORIENTATION,
    PATIENT_ID,
    PATIENT_NAME,
    PIXELS,
    Action,
    meaning_of,
    rule_of,
    values_allowed,
)
from medai.deidentification.keys import Key, normal
from medai.deidentification.outcomes import SetAside
from medai.deidentification.told import reading
from medai.sources.damage import is_damage
from medai.vocabularies.dicom import terms

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

METHOD = ("medai: DICOM PS3.15 E basic profile", "modified dates", "patient characteristics retained")
CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
)
"""CID 7050 of PS3.16."""
STAMPS = (0x00120062, 0x00120063, 0x00120064, 0x00280303)
"""What the stamps of ``_stamp`` stand in."""
CLEANED = ("113101", "Clean Pixel Data Option")
"""Said of a picture in which a site's regions were blanked, and of no other."""
DEEPEST = 32
DUMMY = "REMOVED"
_CODE = (0x00080100, 0x00080102, 0x00080104)
_DIRECTION = re.compile(r"[APRLHF]{1,3}")
_INTEGER = re.compile(r"[+-]?\d{1,12}")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SHORTEST = 4


class Rewritten(NamedTuple):
    """A data set that was written anew.

    Attributes:
        dataset: without file meta and without pixels.
        patient: the id that pseudonym and shift were derived from; None where the file names nobody.
        actions: (what was done, by which authority) → how often.
        secrets: what the file told of its patient, for a last look at what was made of it.
    """

    dataset: Dataset
    patient: str | None
    actions: Counter[tuple[str, str]]
    secrets: frozenset[str]


def rewrite(dataset: Dataset, key: Key) -> Rewritten:
    """Write a data set anew under the profile; its pixels stay as they are.

    Where the file names no patient, its study stands for one: all pictures of a study are of one patient (PS3.3 A.1.2).

    Raises:
        SetAside: sequences lie deeper in each other than DEEPEST, or a value is none of its type.
    """
    patient = normal(_text(dataset, PATIENT_ID)) or None
    work = _Work(key, patient or f"study {_text(dataset, 0x0020000D)}")
    new = work.clean(dataset, 0)
    new.PatientID = new.PatientName = key.subject(work.patient)
    _stamp(new)
    return Rewritten(new, patient, work.actions, frozenset(work.secrets))


class _Work:
    """One file's rewriting."""

    def __init__(self, key: Key, patient: str) -> None:
        self.key = key
        self.patient = patient
        self.days = key.days(patient)
        self.actions: Counter[tuple[str, str]] = Counter()
        self.secrets: set[str] = set()

    def clean(self, dataset: Dataset, depth: int) -> Dataset:
        from pydicom.dataset import Dataset

        if depth > DEEPEST:
            raise SetAside("too_deep")
        new = Dataset()
        for tag in sorted(int(tag) for tag in dataset.keys()):  # noqa: SIM118 - iterating would parse what goes anyway
            element = _read(dataset, tag)
            if element is None:
                self.actions[Action.REMOVE.value, "unreadable"] += 1
                continue
            self._remember(tag, element)
            rule = rule_of(tag, element.VR)
            value = self._value(tag, element, rule.action, depth)
            done = rule.action if value is not None else Action.REMOVE
            self.actions[done.value, rule.why] += 1
            if value is not None:
                new[tag] = _element(tag, element.VR, value)
        return _coded(dataset, new) if depth else new

    def _value(self, tag: int, element: DataElement, action: Action, depth: int) -> Any:
        """The new value; None where the attribute goes."""
        if action is Action.REMOVE:
            return None
        if action is Action.EMPTY:
            return ""
        if action is Action.DUMMY:
            return DUMMY
        if action is Action.CLEAN:
            return self._items(element, depth)
        if tag in PIXELS or action is Action.KEEP:
            return element.value
        if action is Action.PSEUDONYM:
            return self._pseudonym(tag, depth, element)
        values = _values(element)
        if action is Action.UID:
            return [self._uid(value) for value in values]
        if not any(values) and action in (Action.MOVE, Action.CHECK) and element.VR not in NUMBERS:
            return ""
        if action is Action.MOVE:
            moved = [self._moved(element.VR, value) for value in values]
            return None if None in moved else moved
        return _checked(tag, element.VR, values)

    def _pseudonym(self, tag: int, depth: int, element: DataElement) -> str:
        told = normal(_said(element))
        if tag == ACCESSION:
            return self.key.identifier("accession", told) if told else ""
        own = depth == 0 or tag == PATIENT_NAME or not told
        return self.key.subject(self.patient if own else told)

    def _uid(self, uid: str) -> str:
        from pydicom.uid import UID_dictionary

        return uid if uid in UID_dictionary or not uid else self.key.uid(uid)

    def _moved(self, kind: str, value: str) -> str | None:
        if not value:
            return ""
        if kind == "DA":
            return dates.dicom_date(value, self.days)
        return dates.dicom_time(value) if kind == "TM" else dates.dicom_datetime(value, self.days)

    def _items(self, element: DataElement, depth: int) -> Any:
        from pydicom.sequence import Sequence

        items = [self.clean(item, depth + 1) for item in element.value or ()]
        coded = any(_is_code(item) for item in element.value or ())
        return None if coded and not all(len(item) for item in items) else Sequence(items)

    def _remember(self, tag: int, element: DataElement) -> None:
        """Keep what names the patient or somebody else, and the file's own UIDs."""
        if element.VR == "PN" or (tag >> 16 == 0x0010 and element.VR in ("LO", "SH")) or tag == ACCESSION:
            for value in _values(element):
                self.secrets |= {part for part in re.split(r"[\^=\s]+", normal(value)) if len(part) >= _SHORTEST}
        elif element.VR == "UI" and rule_of(tag, "UI").action is Action.UID:
            self.secrets |= {value for value in _values(element) if value and self._uid(value) != value}


def _read(dataset: Dataset, tag: int) -> DataElement | None:
    """An element, parsed; None where its bytes are none of its type."""
    try:
        element = dataset[tag]
        if " or " in element.VR:
            from pydicom.filewriter import correct_ambiguous_vr_element

            element = correct_ambiguous_vr_element(element, dataset, dataset.original_encoding[1] is not False)
        return element if element.VR != "SQ" or element.value is not None else None
    except Exception as error:
        if not is_damage(error):
            raise
        if isinstance(error, RecursionError):
            raise SetAside("too_deep") from None
        return None


def _text(dataset: Dataset, tag: int) -> str:
    element = _read(dataset, tag) if tag in dataset else None
    return "" if element is None or element.VR == "SQ" or isinstance(element.value, bytes) else _said(element)


def _said(element: DataElement) -> str:
    """Its value as text; several as one list."""
    with reading():
        return str(element.value or "")


def _values(element: DataElement) -> list[str]:
    """Its values as text, without padding."""
    from pydicom.multival import MultiValue

    value = element.value
    with reading():  # a name is decoded only when it is asked for
        return [
            "" if one is None else str(one).strip(" \0")
            for one in (value if isinstance(value, (MultiValue, list, tuple)) else [value])
        ]


def _element(tag: int, kind: str, value: Any) -> DataElement:
    """A new element; a value that its type cannot hold sets the file aside."""
    from pydicom.dataelem import DataElement

    with reading():
        return DataElement(tag, kind, value, already_converted=kind == "SQ")


def _checked(tag: int, kind: str, values: list[str]) -> Any:
    """What may stay of an attribute that is not in the table; None where a value is no term or number."""
    most = values_allowed(tag)
    if most is not None and len(values) > most:
        return None
    if tag == MANUFACTURER:
        return values[0] if values[0] in terms().manufacturers else ""
    if kind == "CS":
        return _code_strings(tag, values)
    if kind == "AS":
        ages = [dates.dicom_age(value) for value in values]
        return None if None in ages else ages
    if kind in ("IS", "DS"):
        form = _INTEGER if kind == "IS" else _DECIMAL
        return values if all(len(one) <= 16 and form.fullmatch(one) for one in values) else None
    return _numbers(kind, values)


def _code_strings(tag: int, values: list[str]) -> list[str] | None:
    known = terms().codes
    if tag == ORIENTATION:
        return values if all(_DIRECTION.fullmatch(value) for value in values) else None
    if tag == IMAGE_TYPE:
        return [value if value in known or not value else "OTHER" for value in values]
    return values if all(value in known or not value for value in values) else None


def _numbers(kind: str, values: list[str]) -> Any:
    """Numbers as they were; of a type that the file leaves open, pydicom gives bytes, which are no text of ours."""
    if any(value.startswith(("b'", 'b"')) for value in values):
        return None
    number = float if kind in ("FL", "FD") else int
    try:
        parsed = [number(value) for value in values if value]
    except ValueError:
        return None
    return parsed[0] if len(parsed) == 1 else parsed


def _is_code(item: Dataset) -> bool:
    return _CODE[0] in item and _CODE[1] in item


def _coded(old: Dataset, new: Dataset) -> Dataset:
    """Of an item that is a code, the code with its dictionary's meaning, or nothing where no dictionary has it."""
    from pydicom.dataset import Dataset

    if not _is_code(old):
        return new
    code, scheme = _text(old, _CODE[0]), _text(old, _CODE[1])
    meaning = meaning_of(scheme, code)
    if meaning is None:
        return Dataset()
    for tag, kind, value in zip(_CODE, ("SH", "SH", "LO"), (code, scheme, meaning[:64]), strict=True):
        new[tag] = _element(tag, kind, value)
    return new


def _stamp(dataset: Dataset) -> None:
    """Say what was done (PS3.15 E.1.1, PS3.3 C.7.1.1 and C.12.1)."""
    from pydicom.sequence import Sequence

    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = list(METHOD)
    dataset.DeidentificationMethodCodeSequence = Sequence([_code_item(*code) for code in CODES])
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"


def stamp_cleaned(dataset: Dataset) -> None:
    """Say of a stamped data set that its pixels were cleaned, too."""
    dataset.DeidentificationMethod = [*dataset.DeidentificationMethod, "regions of the pixels blanked"]
    dataset.DeidentificationMethodCodeSequence.append(_code_item(*CLEANED))


def _code_item(code: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", meaning
    return item
