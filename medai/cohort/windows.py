"""Cohorts of events: a trigger, windows around it, and what must happen in them, in the words of ACES.

Xu J, Gallifant J, Johnson AEW, McDermott MBA. ACES: Automatic Cohort Extraction System for Event-Stream Datasets.
arXiv:2406.19653, 2024; its release 0.7.3 is the oracle of the tests. The meaning is ACES' own:

- A **moment** is all events of one subject at one time. A plain predicate counts, at each moment, the events that it
  fits; ``any_of`` and ``all_of`` are 1 at a moment where any, or each, of theirs is above 0, else 0.
- A ``static`` predicate is met by an event without a time. Subjects without such an event leave before all else.
- Each moment at which the **trigger** is above 0 is asked about: one sample, unless it leaves at a window.
- One end of a **window** refers to the trigger or to an end of another window, and its other end to the first:
  ``start + 24h``; ``start -> discharge``, the next moment of a predicate; ``end <- admission``, the last one before;
  and null, the record's first or last moment. An arrow that says where a window lies (it refers to the trigger or to
  another window) looks beyond the moment it starts from. One within a window looks at that moment, too, if the end
  that it finds is inclusive. A window without its moment does not exist, and the trigger leaves.
- ``has`` bounds how often a predicate is met in a window, summed over its moments, both bounds included. Whether the
  moments at the two ends count is said by ``start_inclusive`` and ``end_inclusive``.
- The label is 1 where the predicate named ``label`` is met in its window at all, else 0.
- prediction_time is the start or end of the window that has ``index_timestamp``; without one, the trigger's moment.
  (Of a window whose start is reckoned from its end, ``end - 24h``, ACES 0.7.3 gives the end for the start and the
  start for the end. Here a start is a start.)

Special predicates are ``_ANY_EVENT`` (1 at each moment), ``_RECORD_START`` and ``_RECORD_END``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from medai.cohort.boundaries import Boundary, Side, parse_boundary
from medai.cohort.definition import Groups
from medai.errors import near_match
from medai.records import Frozen

ANY_EVENT, RECORD_START, RECORD_END = "_ANY_EVENT", "_RECORD_START", "_RECORD_END"
SPECIAL = (ANY_EVENT, RECORD_START, RECORD_END)
_NAME = re.compile(r"[A-Za-z]\w*")
_KEYWORDS = ("trigger", "start", "end")
_COLUMNS = ("subject_id", "time", "first", "last")


class Code(Frozen):
    """Which codes fit, in one way.

    Attributes:
        any: one of these.
        prefix: those that begin so.
        regex: those in which it is found, in the syntax of Rust's ``regex``, as polars has it.
    """

    any: tuple[str, ...] | None = Field(None, min_length=1)
    prefix: str | None = Field(None, min_length=1)
    regex: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _says_one_thing(self) -> Code:
        if sum(part is not None for part in (self.any, self.prefix, self.regex)) != 1:
            raise ValueError("a code is a text, or one of any, prefix and regex")
        if self.regex is not None:
            import polars as pl

            try:
                pl.Series([""]).str.contains(self.regex)
            except pl.exceptions.PolarsError:
                raise ValueError(f"the regular expression {self.regex!r} cannot be read") from None
        return self


class Predicate(Frozen):
    """What an event, or a moment, is.

    Attributes:
        code: the event's code, or which codes fit.
        variable: the clinical variable that the event measures.
        value_min, value_max: bounds of the event's number; an event without a number does not fit them.
        value_min_inclusive, value_max_inclusive: whether the bound itself fits.
        static: the event has no time.
        any_of, all_of: instead of all that, other predicates that are met at the same moment.
    """

    code: str | Code | None = None
    variable: str | None = None
    value_min: float | None = None
    value_max: float | None = None
    value_min_inclusive: bool = False
    value_max_inclusive: bool = False
    static: bool = False
    any_of: tuple[str, ...] = ()
    all_of: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_plain_or_derived(self) -> Predicate:
        derived = bool(self.any_of) + bool(self.all_of)
        given = {name for name, value in self if value != type(self).model_fields[name].default}
        if derived > 1 or (derived and given - {"any_of", "all_of"}):
            raise ValueError("a predicate says what an event is, or one of any_of and all_of")
        if not derived and self.code is None and self.variable is None:
            raise ValueError("a predicate names a code or a variable, or any_of or all_of other predicates")
        if derived and len(self.parts) < 2:
            raise ValueError("any_of and all_of take two predicates or more")
        if self.value_min is not None and self.value_max is not None and self.value_min > self.value_max:
            raise ValueError("value_min is above value_max")
        for bound in ("value_min", "value_max"):
            if getattr(self, bound) is None and getattr(self, f"{bound}_inclusive"):
                raise ValueError(f"{bound}_inclusive goes with {bound}")
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """The predicates that it is derived from."""
        return self.any_of or self.all_of


class Bounds(Frozen):
    """How often a predicate must be met in a window, both included."""

    min: int | None = Field(None, ge=0)
    max: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _bounds_something(self) -> Bounds:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self


class Window(Frozen):
    """A stretch of a subject's record beside the trigger.

    Attributes:
        start, end: see ``medai.cohort.boundaries``; null: the record's first or last moment.
        start_inclusive, end_inclusive: whether the moments at the ends count.
        has: predicate → how often it must be met.
        label: the predicate that the label says was met.
        index_timestamp: which end is prediction_time.
    """

    start: str | None
    end: str | None
    start_inclusive: bool
    end_inclusive: bool
    has: dict[str, Bounds] = Field(default={})
    label: str | None = None
    index_timestamp: Side | None = None

    @model_validator(mode="after")
    def _one_end_refers_to_the_other(self) -> Window:
        start, end = self.boundaries
        if start.own == end.own or (start if start.own else end).side != ("end" if start.own else "start"):
            raise ValueError(
                "one end refers to the trigger or another window, the other to it as 'start …' or 'end …'; "
                "null refers to the other end"
            )
        within, backwards = (start, True) if start.own else (end, False)
        wrong = within.next if backwards else within.previous
        ahead = within.offset.total_seconds() * (-1 if backwards else 1)
        if wrong or ahead < 0 or not (ahead or within.next or within.previous):
            raise ValueError("a window's start lies before its end")
        return self

    @property
    def boundaries(self) -> tuple[Boundary, Boundary]:
        """Start and end."""
        start = Boundary(None, "end", previous=RECORD_START) if self.start is None else parse_boundary(self.start)
        end = Boundary(None, "start", next=RECORD_END) if self.end is None else parse_boundary(self.end)
        return start, end

    @property
    def outer(self) -> Boundary:
        """The boundary that refers to the trigger or to another window."""
        start, end = self.boundaries
        return end if start.own else start

    @property
    def named(self) -> Iterator[tuple[str, str]]:
        """Key → predicate, of each that it speaks of."""
        for key, boundary in zip(("start", "end"), self.boundaries, strict=True):
            for predicate in (boundary.next, boundary.previous):
                if predicate is not None:
                    yield key, predicate
        for predicate in self.has:
            yield "has", predicate
        if self.label is not None:
            yield "label", self.label


class Windows(Frozen):
    """One sample for each trigger whose windows hold what they must; see this module.

    Attributes:
        predicates: name → what an event or a moment is.
        trigger: the predicate that is asked about.
        windows: name → window, in the order of the attrition table's lines.
        groups: static codes that evaluation may use as subgroups.
    """

    kind: Literal["windows"]
    predicates: dict[str, Predicate] = Field(min_length=1)
    trigger: str
    windows: dict[str, Window] = Field(default={})
    groups: Groups = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> Windows:
        for kind, names, taken in (
            ("predicate", self.predicates, _KEYWORDS + _COLUMNS),
            ("window", self.windows, _KEYWORDS),
        ):
            for name in names:
                if not _NAME.fullmatch(name) or name in taken:
                    raise ValueError(
                        f"{name!r} is no name of a {kind}: letters, digits and underscores, and none of "
                        + ", ".join(taken)
                    )
        for name, predicate in self.predicates.items():
            for part in predicate.parts:
                self._require(part, f"predicates.{name}", special=False)
                if self.predicates[part].static:
                    raise ValueError(f"predicates.{name}: {part!r} is static and met at no moment")
        self.derived_in_order()
        self._require(self.trigger, "trigger")
        for name, window in self.windows.items():
            for key, predicate_name in window.named:
                self._require(predicate_name, f"windows.{name}.{key}", special=key != "label")
            referred = window.outer.window
            if referred not in ("trigger", *self.windows):
                known = ("trigger", *self.windows)
                raise ValueError(f"windows.{name}: there is no window {referred!r}; {near_match(str(referred), known)}")
        for key in ("label", "index_timestamp"):
            having = [name for name, window in self.windows.items() if getattr(window, key) is not None]
            if len(having) > 1:
                raise ValueError(f"one window has {key}, not {', '.join(having)}")
        self.in_order()
        return self

    def _require(self, name: str, where: str, *, special: bool = True) -> None:
        """Refuse a predicate that is unknown, or static and asked for at a moment."""
        if special and name in SPECIAL:
            return
        if name not in self.predicates:
            raise ValueError(f"{where}: there is no predicate {name!r}; {near_match(name, self.predicates)}")
        if self.predicates[name].static:
            raise ValueError(f"{where}: {name!r} is static and met at no moment")

    def in_order(self) -> tuple[str, ...]:
        """Windows, each after the one that it refers to.

        Raises:
            ValueError: windows refer to each other in a circle.
        """
        order: list[str] = []
        left = dict.fromkeys(self.windows)
        while left:
            ready = [name for name in left if self.windows[name].outer.window in ("trigger", *order)]
            if not ready:
                raise ValueError(f"windows refer to each other in a circle: {', '.join(left)}")
            order += ready
            left = dict.fromkeys(name for name in left if name not in ready)
        return tuple(order)

    def derived_in_order(self) -> tuple[str, ...]:
        """Derived predicates, each after those that it is derived from.

        Raises:
            ValueError: predicates are derived from each other in a circle.
        """
        order: list[str] = []
        left = [name for name, predicate in self.predicates.items() if predicate.parts]
        plain = [name for name in self.predicates if name not in left]
        while left:
            ready = [name for name in left if all(part in (*plain, *order) for part in self.predicates[name].parts)]
            if not ready:
                raise ValueError(f"predicates are derived from each other in a circle: {', '.join(left)}")
            order += ready
            left = [name for name in left if name not in ready]
        return tuple(order)

    @property
    def label_window(self) -> str | None:
        """The window that has the label."""
        return next((name for name, window in self.windows.items() if window.label is not None), None)

    @property
    def index_window(self) -> str | None:
        """The window of which an end is prediction_time."""
        return next((name for name, window in self.windows.items() if window.index_timestamp is not None), None)
