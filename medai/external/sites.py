"""Data of another source than the champion's: how they are read, and which of their labels are the champion's.

A site is a YAML file of its own, beside the data or wherever its owner keeps it:

    source: {kind: image_table, table: pictures.csv, size: [64, 64], columns: {…}}
    labels: {Cardiomegaly: enlarged_heart}      # the champion's class → the site's column or word, where names differ
    groups: [sex]                               # columns by which figures are told

Classes go by their names, whatever their letters' case and whether words are joined by spaces, hyphens or underscores.
Of several findings those are measured that the site has; the others are told. A classifier needs all of its classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from medai.cohort.definition import Groups
from medai.errors import ConfigurationError, DataRefused, near_match
from medai.faults import faults_of, told
from medai.outputs import Binary, Mask, Multiclass, Multilabel, Output
from medai.paths import expanded
from medai.records import Candidate, Frozen, Origin, Snapshot
from medai.sources import Source, reader, reading
from medai.validation import catalogue_suite
from medai.workspace import Workspace
from medai.yaml_files import read_yaml


class Site(Frozen):
    """Other data than the Problem's, of whatever source of the same shape.

    Attributes:
        source: how the data are read; what is its champion's as well (size, channels, …) must be the same there.
        suite: which suite judges them: a packaged one, or a path beside the site's file; the source's when left out.
        tolerance: largest share of a table's rows that may be set aside; the suite's own when left out.
        labels: class of the champion → the site's label column, or its word for the class.
        groups: columns by which figures are told.
    """

    source: Source
    suite: str | None = None
    tolerance: float | None = Field(None, ge=0, le=1)
    labels: dict[str, str] = Field(default={})
    groups: Groups = ()


class Matched(NamedTuple):
    """What can be measured at a site.

    Attributes:
        output: of the champion's, what the site has labels for.
        columns: class → the site's label column or word.
        missing: findings of the champion that the site has no label for.
    """

    output: Output
    columns: dict[str, str]
    missing: tuple[str, ...]


def read_site(path: str) -> Site:
    """Read a site's file.

    Raises:
        ConfigurationError: it is not there, or cannot be followed.
    """
    file = expanded(path)
    try:
        return Site.model_validate(read_yaml(file))
    except ValidationError as error:
        expected, received = told(faults_of(error))
        raise ConfigurationError(
            f"the site {file.name} cannot be followed",
            expected=expected or "source, and if need be suite, tolerance, labels and groups",
            received=received,
            action="correct the file",
        ) from None


def suite_of(site: Site, path: str) -> Path:
    """The suite that judges a site's data.

    Raises:
        ConfigurationError: there is no such suite.
    """
    suite = site.suite or site.source.kind
    if not suite.endswith((".yaml", ".yml")):
        return catalogue_suite(suite)
    beside = expanded(path).absolute().parent / expanded(suite)
    if beside.is_file():
        return beside
    raise ConfigurationError(
        "the suite of the site is not there",
        expected="a packaged suite's name, or the path of a YAML file beside the site's",
        received=suite,
        action="correct suite in the site's file",
    )


def origin_of(site: Site, champion: Candidate) -> Origin | None:
    """How the site reads its data, in what both readers are asked for; None where the champion's is not known.

    Raises:
        ConfigurationError: one gives pictures and the other events.
    """
    own = champion.origin
    if own is None:
        return None
    shapes = {"pixels": "images", "series": "events"}
    wanted, given = shapes[champion.preprocessing["kind"]], reader(site.source).SHAPE
    if wanted != given:
        raise ConfigurationError(
            "the site's source gives data of another shape than the champion reads",
            expected=f"a source of {wanted}",
            received=f"{site.source.kind}, which gives {given}",
            action="name another source in the site's file",
        )
    asked = {key: value for key, value in reading(site.source).items() if key in own.source and key != "kind"}
    return own.model_copy(update={"source": own.source | asked})


def words_of(source: Any) -> dict[str, tuple[str, ...]]:
    """Label column → its words in the order of their numbers, where the source's configuration names them."""
    if source.kind == "image_folder":
        return {"label": source.classes}
    if source.kind == "image_table":
        return {name: words for name, words in source.columns.labels.items() if words != "number"}
    return {}


def label_columns(workspace: Workspace, snapshot: Snapshot) -> tuple[str, ...]:
    """The columns of a snapshot's labels table that are labels."""
    from medai.tables import read_table

    table = read_table(workspace.folder("ingest", snapshot.key) / "labels.parquet")
    return tuple(name for name in table.column_names if name not in ("row_id", "stay_id", "subject_id"))


def match_labels(
    champion: Candidate, labels: tuple[str, ...], words: Mapping[str, tuple[str, ...]], named: Mapping[str, str]
) -> Matched:
    """What of the champion's output a site has labels for.

    Args:
        labels: the site's label columns.
        words: label column → its words, where they are known.
        named: class of the champion → the site's column or word.

    Raises:
        ConfigurationError: a name that the champion or the site does not know.
        DataRefused: the site has a label for none of the findings, or lacks one of the classes.
    """
    own: Output = TypeAdapter[Output](Output).validate_python(next(iter(champion.outputs.values())))
    for name in named:
        if name not in own.names:
            raise _unknown(f"labels names a class that the champion does not have: {name!r}", name, own.names)
    if isinstance(own, Multilabel):
        return _findings(own, _Labels(labels, words, named))
    if (
        isinstance(own, Mask)
        or (isinstance(own, Binary) and own.within is not None)
        or (isinstance(own, Multiclass) and own.ordered)
    ):
        return Matched(own, {name: name for name in own.names}, ())
    return _classes(own, _Labels(labels, words, named))


class _Labels:
    """A site's labels, found by name."""

    def __init__(self, labels: tuple[str, ...], words: Mapping[str, tuple[str, ...]], named: Mapping[str, str]) -> None:
        self.columns = {_folded(column): column for column in labels}
        self.words = {column: {_folded(word): at for at, word in enumerate(words[column])} for column in words}
        self._named = named

    def names(self, label: str, *others: str) -> tuple[str, ...]:
        """What a class may be called there.

        Raises:
            ConfigurationError: it is said to be called what is not there.
        """
        if label not in self._named:
            return tuple(_folded(name) for name in (label, *others))
        name = _folded(self._named[label])
        known = {*self.columns, *(word for words in self.words.values() for word in words)}
        if name not in known:
            raise _unknown(f"the site has no label {self._named[label]!r}", name, sorted(known))
        return (name,)

    def column(self, names: tuple[str, ...]) -> str | None:
        """The column of such a name."""
        return next((self.columns[name] for name in names if name in self.columns), None)

    def word(self, names: tuple[str, ...]) -> tuple[str, int] | None:
        """The column that has such a word, and the word's number."""
        for column, words in self.words.items():
            for name in names:
                if name in words:
                    return column, words[name]
        return None

    @property
    def known(self) -> str:
        """All names, for a message."""
        return ", ".join([*self.columns, *(word for words in self.words.values() for word in words)])


def _findings(own: Multilabel, there: _Labels) -> Matched:
    found, missing = dict[str, str](), []
    alone: tuple[str, str, int] | None = None
    for column, finding in own.classes.items():
        names = there.names(finding, column)
        if (label := there.column(names)) is not None:
            found[label] = finding
        elif (word := there.word(names)) is not None and len(there.words[word[0]]) == 2 and alone is None:
            alone = (finding, *word)
        else:
            missing.append(finding)
    if alone is not None and found:
        missing.append(alone[0])
    if len(found) > 1:
        output: Output = Multilabel(kind="multilabel", classes=found)
    elif found:
        ((label, finding),) = found.items()
        output = _present_or_not(finding, label, 1)
    elif alone is not None:
        output, found = _present_or_not(*alone), {alone[1]: alone[0]}
    else:
        raise DataRefused(
            "the site has a label for none of the champion's findings",
            expected=f"one or more of {', '.join(own.names)}",
            received=there.known,
            action="name them under labels in the site's file: {FINDING: COLUMN}",
        )
    order = [finding for finding in own.names if finding in missing]
    return Matched(output, {finding: label for label, finding in found.items()}, tuple(order))


def _present_or_not(finding: str, label: str, number: int) -> Binary:
    classes = {1 - number: f"no {finding}", number: finding}
    return Binary(kind="binary", label=label, classes=dict(sorted(classes.items())), positive=finding)


def _classes(own: Binary | Multiclass, there: _Labels) -> Matched:
    names = {label: there.names(label) for label in own.names}
    if isinstance(own, Binary) and (column := there.column(names[own.positive])) is not None:
        classes = {0: own.names[0], 1: own.positive}
        return Matched(own.model_copy(update={"label": column, "classes": classes}), {own.positive: column}, ())
    for column, words in there.words.items():
        numbers = {label: next((words[name] for name in names[label] if name in words), None) for label in own.names}
        if isinstance(own, Binary) and len(words) == 2:  # who is not the one is the other
            numbers = _other(numbers)
        if None not in numbers.values():
            classes = {number: label for label, number in numbers.items() if number is not None}
            changes = {"label": column, "classes": dict(sorted(classes.items()))}
            return Matched(own.model_copy(update=changes), dict.fromkeys(own.names, column), ())
    if own.label in there.columns.values() and own.label not in there.words:
        return Matched(own, dict.fromkeys(own.names, own.label), ())
    raise DataRefused(
        "the site's labels are not the champion's classes",
        expected=", ".join(own.names),
        received=there.known,
        action="name them under labels in the site's file: {CLASS: WORD}",
    )


def _other(numbers: dict[str, int | None]) -> dict[str, int | None]:
    """Of two classes the one that is not named has the other number."""
    known = [number for number in numbers.values() if number is not None]
    return (
        {label: 1 - known[0] if number is None else number for label, number in numbers.items()} if known else numbers
    )


def _unknown(wrong: str, name: str, known: Any) -> ConfigurationError:
    return ConfigurationError(
        wrong,
        expected=", ".join(known),
        received=near_match(name, known),
        action="correct labels in the site's file",
    )


def _folded(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")
