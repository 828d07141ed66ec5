"""The guard on the way out: what leaves for a notebook, a page or a log names no patient.

A snapshot's tables of identifiers, readable by their owner alone, say which names there are: the site's ids of
subjects, stays and pictures, and with a picture's path its file's own name. Whatever is about to leave is cut into
words, and each word is looked up among them: one look-up a word, so that 300,000 patients cost a second and 100 MB
once, and a page some milliseconds.

A word tells somebody if it is somebody's id and could hardly stand there otherwise:

- an id of letters with digits or signs in it, from five characters on, where its words stand in the same order;
- a number of seven digits and more, unless it is part of a decimal or a longer number;
- a number of five or six digits where no blank is near, as in a path: in a sentence it may be a count;
- a word of letters alone, from six on, but no word that stands for "nobody";
- words that tell nothing alone, but do together: ``IM-0117``, with a padded number, or three of eight signs and more;
- a shorter number right behind a word that says whose it is: ``patient 17``, ``hadm_id=4711``, ``subject: 132539``;
  but no count (``patient 17 of 40``, ``subjects: 17``).

Other short ids (``17``, ``a``) can be told from nothing else and are not looked for: ``Guard.blind`` counts them. Nor
are free texts, of which no list could be made: no record or page is ever given one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medai.errors import MedaiError
from medai.records import Snapshot
from medai.tables import read_table
from medai.workspace import Workspace

TABLES = "*identifiers.parquet"
"""A snapshot's owner-only tables: each text in them is the site's id of somebody or something."""

_WORD = re.compile(r"[^\W_]+")
_SHORTEST, _LETTERS_ALONE, _FIGURE, _SHORT_FIGURE = 5, 6, 7, 5
_PADDED, _TOGETHER = 4, 8
_NOBODY = frozenset({"unknown", "missing", "nobody", "patient", "subject", "anonymous", "anonym", "removed"})
_CONTENT = re.compile(r"[0-9a-f]{64}")
"""A content's hash, which stands for a picture where nobody is named."""
_DATA, _NUMBERS = re.compile(r"data:[^\"')\s>]*"), re.compile(r"\s[\w:-]+=\"[^\"A-Za-z]*\"")
_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)


_WHOSE = re.compile(
    r"(?<![^\W_])(?:patient|subject|person|mrn|accession|admission|hadm|stay|icustay|study|case)"
    r"(?:[ _-]?(?:id|nr|no|number))?"
    r"[\s\"'=:#_-]{0,4}([0-9]{1,6})(?![^\W_])(?!\s+of\b)(?![.,][0-9])",
    re.IGNORECASE,
)
"""A number, and the word before it that says that it is somebody's."""


class Guard:
    """Knows a snapshot's identifiers, and finds them in what is about to leave.

    Args:
        names: the identifiers, as the site writes them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.blind = 0
        self._alone: set[str] = set()
        self._several: set[tuple[str, ...]] = set()
        self._numbers: set[str] = set()
        self._shapes: dict[str, set[tuple[int, int]]] = {}  # word → of the ids with it, place of the word and length
        for name in {name.casefold() for name in names}:
            words = (name,) if name.isalnum() else tuple(_WORD.findall(name))
            if len(words) == 1 and name.isdecimal() and len(name) < _FIGURE:
                self._numbers.add(name)
            telling = max(filter(_tells, words), key=len, default=None) or _together(words)
            if telling is None:
                self.blind += 1
            elif len(words) == 1:
                self._alone.add(telling)
            else:
                self._several.add(words)
                self._shapes.setdefault(telling, set()).add((words.index(telling), len(words)))

    @classmethod
    def of(cls, workspace: Workspace, snapshot: Snapshot) -> Guard:
        """The guard of a snapshot."""
        return cls(_names(workspace.folder("ingest", snapshot.key)))

    def finds(self, text: str) -> bool:
        """Whether a text names somebody."""
        found = [(word[0].casefold(), word.start(), word.end()) for word in _WORD.finditer(text)]
        for at, (word, start, end) in enumerate(found):
            if word in self._alone and (not word.isdigit() or _stands_out(text, start, end)):
                return True
            for place, length in self._shapes.get(word, ()):
                first = at - place
                if first >= 0 and tuple(one for one, _, _ in found[first : first + length]) in self._several:
                    return True
        return any(number[1] in self._numbers for number in _WHOSE.finditer(text)) if self._numbers else False

    def refuse(self, where: str, value: Any) -> None:
        """Refuse to let go of what names somebody.

        Args:
            where: what it is, for the message.
            value: text, bytes, or mappings and sequences of them; numbers and the keys of ids are looked at, too.

        Raises:
            MedaiError: a defect of ours: somebody is named. The message tells the field, never the value.
        """
        for field, text in leaves(value):
            if self.finds(text):
                raise MedaiError(
                    f"{where} would name a patient",
                    expected="no identifier in anything that leaves the workspace",
                    received=f"one of the snapshot's identifiers in {self._shown(field)}",
                    action="nothing was sent; report this as a defect of medai, or, if the field is one that you wrote"
                    " (a name, an override, a class), take the identifier out of it",
                )

    def _shown(self, field: str) -> str:
        return "a field whose own name is one" if self.finds(field) else field or "the text"

    @property
    def size(self) -> int:
        """How many identifiers are looked for."""
        return len(self._alone) + len(self._several)


def leaves(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Each text in a value, with where it stands; keys, too, and numbers where the key says that they are ids.

    >>> list(leaves({"a": ["x", 1], "subject_id": 17}))
    [('', 'a'), ('a.0', 'x'), ('', 'subject_id'), ('subject_id', '17')]
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield field, str(key)
            yield from leaves(inner, f"{field}.{key}" if field else str(key))
    elif isinstance(value, bytes):
        yield field, value.decode("utf-8", "replace")
    elif isinstance(value, str):
        yield field, value
    elif isinstance(value, Sequence):
        for at, inner in enumerate(value):
            yield from leaves(inner, f"{field}.{at}" if field else str(at))
    elif isinstance(value, int) and not isinstance(value, bool) and field.rpartition(".")[2].endswith("_id"):
        yield field, str(value)


def page_text(page: str) -> str:
    """What a page of HTML or SVG says, without pictures, styles and coordinates."""
    return _NUMBERS.sub(" ", _STYLE.sub(" ", _DATA.sub(" ", page)))


def with_file_name(name: str) -> Iterator[str]:
    """An id; and of a picture's path its file's own name without the ending, too.

    >>> list(with_file_name("ward/IM-0117.png"))
    ['ward/IM-0117.png', 'IM-0117']
    """
    yield name
    stem = name.rpartition("/")[2].partition(".")[0]
    if stem != name:
        yield stem


def _names(folder: Path) -> Iterator[str]:
    """Every text of the owner's tables; of a picture's path its file's own name without the ending, too."""
    for path in sorted(folder.glob(TABLES)):
        table = read_table(path)
        for field in table.schema:
            if "string" not in str(field.type):
                continue
            for name in table[field.name].unique().to_pylist():
                if name and not _CONTENT.fullmatch(name):
                    yield from with_file_name(name) if field.name == "site_id" else (name,)


def _tells(word: str) -> bool:
    """Whether a word of an id could hardly be anything else."""
    if word.isdigit():
        return len(word) >= _SHORT_FIGURE
    if word.isalpha():
        return len(word) >= _LETTERS_ALONE and word not in _NOBODY
    return len(word) >= _SHORTEST


def _together(words: tuple[str, ...]) -> str | None:
    """The word to look up of an id that only its words together tell; None where even they do not."""
    padded = any(word.isdigit() and word[0] == "0" and len(word) >= _PADDED for word in words)
    if (len(words) > 1 and padded) or (len(words) > 2 and sum(map(len, words)) >= _TOGETHER):
        return max(words, key=len)
    return None


def _stands_out(text: str, start: int, end: int) -> bool:
    """Whether a number in a text is more than a figure: see the module."""
    before, after = text[max(0, start - 1) : start], text[end : end + 2]
    if before in (".", ",") and text[max(0, start - 2) : start - 1].isdigit():
        return False
    if after[:1] in (".", ",") and after[1:].isdigit():
        return False
    return end - start >= _FIGURE or (" " not in text and (start, end) != (0, len(text)))
