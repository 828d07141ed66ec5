"""What a Problem predicts: its outputs, and how a label column becomes a truth array.

A truth array is int8 or int16: shape (samples,) for binary (1 is positive) and multiclass (class number), and
(samples, classes) of 0 and 1 for multilabel. A score array is float32 of shape (samples, columns): one column, the
probability of the positive class, for binary; one column a class otherwise.

A mask is true of pixels: beside the arrays lies ``masks``, uint8 (samples, height, width), 0 for background and k for
the k-th finding. Its truth array says of whole pictures which show any finding; its scores are float32 (samples,
height, width, columns).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from medai.records import Frozen

K = TypeVar("K", int, str)


UNNAMED = "label"
"""The column of an output that names none."""


def _named_once(classes: dict[K, str]) -> dict[K, str]:
    if len(set(classes.values())) < len(classes):
        raise ValueError("each class must be named once: counts and confusion go by the names")
    return classes


Labels = Annotated[dict[int, str], AfterValidator(_named_once)]
"""Label value → class name."""
Findings = Annotated[dict[str, str], AfterValidator(_named_once)]
"""Label column → finding."""


class Within(Frozen):
    """An event soon after a prediction: 1 if it comes later than prediction_time, by ``hours`` at most, else 0.

    A prediction at or after the event is no sample: there is nothing left to predict.

    Attributes:
        hours: how far ahead is looked.
        of: column of the labels table: hours from the stay's start to the event, null where it never came.
        given: column of the labels table that says with 1 that the event counts; with 0 it is taken as never come
            (a death after discharge, which no ward can see coming).
    """

    hours: float = Field(gt=0)
    of: str
    given: str | None = None


class Binary(Frozen):
    """Two classes, of which one is positive.

    Attributes:
        label: column of the labels table.
        within: instead of a label of the stay, one of each prediction: an event soon after it.
        classes: label value → class name.
        positive: the class whose probability is the score.
    """

    kind: Literal["binary"]
    label: str = UNNAMED
    within: Within | None = None
    classes: Labels = Field(min_length=2, max_length=2)
    positive: str

    @model_validator(mode="after")
    def _positive_is_a_class(self) -> Binary:
        if self.positive not in self.classes.values():
            raise ValueError(f"positive must be one of {sorted(self.classes.values())}, not {self.positive!r}")
        if self.within is not None:
            if self.label != UNNAMED:
                raise ValueError("an output has one of label and within")
            if self.classes.get(1) != self.positive or 0 not in self.classes:
                raise ValueError("with within, class 0 is without the event and class 1, the positive one, with it")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Negative class, then positive class: the order of a confusion matrix."""
        negative = next(name for name in self.classes.values() if name != self.positive)
        return negative, self.positive

    @property
    def columns(self) -> int:
        """Score columns."""
        return 1

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns of the labels table that this output reads."""
        if self.within is None:
            return (self.label,)
        return (self.within.of,) if self.within.given is None else (self.within.of, self.within.given)

    def truth(self, columns: list[np.ndarray]) -> np.ndarray:
        """(samples,) int8, 1 where the label is the positive class."""
        value = next(number for number, name in self.classes.items() if name == self.positive)
        return np.asarray(columns[0] == value, np.int8)


class Multiclass(Frozen):
    """Exactly one of several classes.

    Attributes:
        label: column of the labels table.
        remaining: instead of a label of the stay, one of each prediction: the hours from prediction_time to what this
            column of the labels table says (hours since the stay's start), by ``bins``. A prediction at or after it is
            no sample.
        bins: rising edges in hours; class 0 is below the first, class k from edge k − 1 on and below edge k, the last
            class from the last edge on.
        classes: label value → class name.
    """

    kind: Literal["multiclass"]
    label: str = UNNAMED
    remaining: str | None = None
    bins: tuple[float, ...] = ()
    classes: Labels = Field(min_length=3)

    @model_validator(mode="after")
    def _bins_make_the_classes(self) -> Multiclass:
        if (self.remaining is None) != (not self.bins):
            raise ValueError("remaining and bins go together")
        if self.remaining is not None:
            if self.label != UNNAMED:
                raise ValueError("an output has one of label and remaining")
            if any(later <= earlier for earlier, later in zip((0.0, *self.bins), self.bins, strict=False)):
                raise ValueError("bins are hours above 0, each larger than the one before")
            if sorted(self.classes) != list(range(len(self.bins) + 1)):
                raise ValueError(f"{len(self.bins)} bins make the classes 0 to {len(self.bins)}")
        return self

    @property
    def ordered(self) -> bool:
        """Whether the classes are bins of a time: then a prediction may be far off or near."""
        return self.remaining is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in the order of their label values."""
        return tuple(self.classes[number] for number in sorted(self.classes))

    @property
    def columns(self) -> int:
        """Score columns."""
        return len(self.classes)

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns of the labels table that this output reads."""
        return (self.label,) if self.remaining is None else (self.remaining,)

    def truth(self, columns: list[np.ndarray]) -> np.ndarray:
        """(samples,) int16, the position of the label among the sorted label values."""
        return np.searchsorted(np.array(sorted(self.classes)), columns[0]).astype(np.int16)


class Multilabel(Frozen):
    """Any number of findings at once; each label column is 0 or 1.

    Attributes:
        classes: column of the labels table → finding.
        order: those columns in the order of the scores; that of ``classes`` when left out. A record keeps it, since
            its JSON sorts the keys of ``classes``, and equal classes in another order are another output.
    """

    kind: Literal["multilabel"]
    classes: Findings = Field(min_length=2)
    order: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _classes_stand_in_order(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(classes := data.get("classes"), dict):
            return data
        order = data.get("order") or tuple(classes)
        if not isinstance(order, list | tuple) or sorted(map(str, order)) != sorted(map(str, classes)):
            raise ValueError("order names each column of classes once")
        return data | {"classes": {column: classes[column] for column in order}, "order": tuple(order)}

    @property
    def names(self) -> tuple[str, ...]:
        """Findings in the order given."""
        return tuple(self.classes.values())

    @property
    def columns(self) -> int:
        """Score columns."""
        return len(self.classes)

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns of the labels table that this output reads."""
        return tuple(self.classes)

    def truth(self, columns: list[np.ndarray]) -> np.ndarray:
        """(samples, findings) int8."""
        return np.stack(columns, axis=1).astype(np.int8)


class Mask(Frozen):
    """Where in a picture each finding lies: a class for every pixel.

    Of the whole picture only is known, and counted, whether it shows any finding.

    Attributes:
        label: column of the labels table: 1 where the picture shows any finding, else 0.
        classes: pixel value → class name; 0 is the background, and the findings are numbered on from 1.
    """

    kind: Literal["mask"]
    label: str = UNNAMED
    classes: Labels = Field(min_length=2, max_length=256)

    @model_validator(mode="after")
    def _background_is_zero(self) -> Mask:
        if sorted(self.classes) != list(range(len(self.classes))):
            raise ValueError("classes are numbered from 0, the background, without a gap")
        return self

    @property
    def findings(self) -> tuple[str, ...]:
        """Class names without the background, in the order of their pixel values."""
        return tuple(self.classes[value] for value in sorted(self.classes) if value)

    @property
    def positive(self) -> str:
        """A picture with any finding."""
        return " or ".join(self.findings)

    @property
    def names(self) -> tuple[str, ...]:
        """A picture without any finding, then one with: the order of a confusion matrix."""
        return f"no {self.positive}", self.positive

    @property
    def columns(self) -> int:
        """Score columns a pixel: one, the probability of the only finding; otherwise one a class, background first."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns of the labels table that this output reads."""
        return (self.label,)

    def truth(self, columns: list[np.ndarray]) -> np.ndarray:
        """(samples,) int8, 1 where the picture shows any finding."""
        return np.asarray(columns[0] != 0, np.int8)


Output = Annotated[Binary | Multiclass | Multilabel | Mask, Field(discriminator="kind")]


def answering(asked: Output, own: Output) -> tuple[int, ...] | None:
    """Which of a model's score columns answer an output, in its order; None where they do not.

    A model of several findings answers some of them, and a single one as a binary output whose positive class it is.

    Args:
        asked: what is to be measured.
        own: what the model was fitted for.

    >>> own = Multilabel(kind="multilabel", classes={"a": "Mass", "b": "Edema", "c": "Hernia"})
    >>> answering(Multilabel(kind="multilabel", classes={"x": "Hernia", "y": "Mass"}), own)
    (2, 0)
    >>> answering(Binary(kind="binary", classes={0: "none", 1: "Edema"}, positive="Edema"), own)
    (1,)
    """
    if isinstance(own, Multilabel) and not isinstance(asked, Multiclass):
        wanted = (asked.positive,) if isinstance(asked, Binary) else asked.names
        places = {finding: place for place, finding in enumerate(own.names)}
        return tuple(places[finding] for finding in wanted) if places.keys() >= set(wanted) else None
    if (asked.kind, asked.names) != (own.kind, own.names):
        return None
    return tuple(range(own.columns))
