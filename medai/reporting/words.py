"""The words of the page: what a clinician calls a metric, a model, a method."""

from __future__ import annotations

import re
from typing import Any

from medai.records import Condition

NET = "net"

METRICS: dict[str, tuple[str, str]] = {
    "auroc": ("AUROC", "chance that a positive is ranked above a negative; 0.5 is guessing"),
    "micro_auroc": ("Micro AUROC", "AUROC of all pairs of a sample and a finding, taken together"),
    "auprc": ("AUPRC", "mean PPV over all sensitivities; the prevalence is guessing"),
    "kappa": ("Kappa", "agreement of predicted and true class beyond chance, weighted by distance; 0 is chance"),
    "mad": ("MAD", "mean absolute deviation of the predicted class's mean time from the true time, in hours"),
    "accuracy": ("Accuracy", "share of right answers"),
    "balanced_accuracy": ("Balanced accuracy", "mean of sensitivity and specificity"),
    "sensitivity": ("Sensitivity", "share of the positives that are flagged"),
    "specificity": ("Specificity", "share of the negatives that are not flagged"),
    "ppv": ("PPV", "share of the flagged that are positive"),
    "npv": ("NPV", "share of the unflagged that are negative"),
    "f1": ("F1", "harmonic mean of sensitivity and PPV"),
    "brier": ("Brier score", "mean squared error of the probability; 0 is perfect"),
    "ece": ("ECE", "expected calibration error, 15 bins; 0 is perfect"),
    "dice": ("Dice", "overlap of mask and truth, mean over all pictures; 1 where both are empty"),
    "dice_lesions": ("Dice, with a finding", "the same over the pictures that show a finding alone"),
    "false_positive_share": ("Marked in vain", "share of the pictures without a finding in which something is marked"),
    "hd95": ("HD95", "95th percentile of the distance between the outlines, in pixels; 0 is perfect"),
    "hd": ("Hausdorff distance", "largest distance between the outlines, in pixels; 0 is perfect"),
    "hd95_mm": ("HD95 in mm", "95th percentile of the distance between the outlines, in millimetres"),
    "hd_mm": ("Hausdorff distance in mm", "largest distance between the outlines, in millimetres"),
    "lesion_sensitivity": ("Findings hit", "share of the findings of which at least one pixel is marked"),
    "false_lesions": ("False findings", "marked parts that touch no finding, mean over pictures"),
}
"""Metric → its name on the page, and what it says."""

MODELS = {
    "residual_cnn": "residual convolutional network",
    "small_cnn": "convolutional network",
    "unet": "U-Net",
    "gru": "recurrent network (GRU)",
    "lstm": "recurrent network (LSTM)",
    "logistic_regression": "logistic regression",
    "gradient_boosting": "gradient boosting",
    "global_threshold": "global threshold",
}

VERDICTS = {
    "promoted": "Promoted",
    "refused": "Refused",
    "insufficient_evidence": "Insufficient evidence",
    "awaiting_approval": "Awaiting approval",
    "no_gate": "No gate",
}


def met(condition: Condition) -> tuple[str, str]:
    """Whether a condition of the gate is met: the name of its colour, and a mark with a word.

    >>> met(Condition(name="", passed=False, judged=False, figure="", required=""))
    ('unmet', '✗ not judged')
    """
    if condition.passed:
        return ("met", "✓ met") if condition.judged else ("unasked", "– not asked")
    if condition.awaits:
        return "awaited", "… awaits a person"
    return "unmet", "✗ not met" if condition.judged else "✗ not judged"


THRESHOLDS = {
    "youden": "where sensitivity + specificity is highest (Youden 1950)",
    "f1": "where F1 is highest",
    "accuracy": "where accuracy is highest",
    "dice": "where the mean Dice is highest",
    "sensitivity_at_least": "where specificity is highest among those with a sensitivity of at least {target:g}",
    "specificity_at_least": "where sensitivity is highest among those with a specificity of at least {target:g}",
}

_METRIC = re.compile(rf"\b({'|'.join(sorted(METRICS, key=len, reverse=True))})\b")

_COMMAND = re.compile(r"`([^`]*)`")


STATISTICS = {
    "psi": "stability index",
    "ks": "distance of distributions",
    "missing": "change of the missing share",
    "units": "change of the units",
    "codes": "share of readings",
    "alerts": "change of the alert rate",
    "metric": "metric",
    "intercept": "recalibration, intercept",
    "slope": "recalibration, slope",
}
"""Statistic of drift → what it is."""

_WRITTEN = {"fio2": "FiO₂", "pco2": "pCO₂", "po2": "pO₂", "ph": "pH"}
_WRITTEN |= {name: name.upper() for name in ("gcs", "inr", "mb", "mch", "mchc", "mcv")}
"""Abbreviations whose capitals and indices a key does not show."""


def spaced(name: str) -> str:
    """A key as words, clinical abbreviations as they are written.

    >>> spaced("implausible_ph"), spaced("gcs_motor"), spaced("heart_rate")
    ('implausible pH', 'GCS motor', 'heart rate')
    """
    return " ".join(_WRITTEN.get(word, word) for word in name.replace("_", " ").split(" "))


def metric(name: str) -> str:
    """A metric's name; that of one finding ends in its name."""
    average, _, finding = name.partition("/")
    shown = METRICS[average][0] if average in METRICS else spaced(average)
    return f"{shown}, {finding}" if finding else shown


def measure(name: str, statistic: str) -> str:
    """What drifts.

    >>> measure("heart_rate", "psi"), measure("auroc/nodule", "metric")
    ('heart rate', 'AUROC, nodule')
    """
    return metric(name) if statistic == "metric" else spaced(name)


def drift(name: str, statistic: str) -> str:
    """What drifts, and by which statistic where several tell of it.

    >>> drift("heart_rate", "psi"), drift("auroc", "metric")
    ('heart rate (stability index)', 'AUROC')
    """
    return measure(name, statistic) + ("" if statistic == "metric" else f" ({STATISTICS.get(statistic, statistic)})")


def subject(unit: str) -> str:
    """What a subject is.

    >>> subject("patient"), subject("image")
    ('one patient', 'one picture content, since the source names no patients: equal pictures are one')
    """
    if unit == "image":
        return "one picture content, since the source names no patients: equal pictures are one"
    return f"one {unit}"


def labels(config: dict[str, Any]) -> dict[str, str]:
    """Variable → what people call it, where an input's source names a vocabulary.

    Args:
        config: the input, as in the resolved Problem.
    """
    from medai.vocabularies import load_vocabulary

    vocabulary = config["source"].get("vocabulary")
    if vocabulary is None:
        return {}
    return {name: variable.label for name, variable in load_vocabulary(vocabulary).variables.items()}


_GRID = 16
_PLACE = re.compile(r"place\.(\d+)\.(\d+)")
_OF_FILE = {
    "height": "height of the file's picture",
    "width": "width of the file's picture",
    "channels": "colour channels of the file",
    "bits": "bits a channel of the file",
    "mean": "mean brightness of the file",
    "std": "contrast of the file (standard deviation)",
    "minimum": "darkest value of the file",
    "maximum": "brightest value of the file",
}


def column(name: str, called: dict[str, str]) -> str:
    """A screened column: a variable's summary, a place of the pictures, or what was known of a file.

    >>> column("heart_rate.last", {"heart_rate": "Heart rate"}), column("SysABP.mean", {})
    ('Heart rate, last', 'SysABP, mean')
    >>> column("place.10.5", {}), column("file.maximum", {})
    ('brightness at row 11, column 6 of 16 by 16 places', 'brightest value of the file')

    Args:
        called: variable → its label.
    """
    if place := _PLACE.fullmatch(name):
        row, across = (int(number) + 1 for number in place.groups())
        return f"brightness at row {row}, column {across} of {_GRID} by {_GRID} places"
    variable, _, summary = name.rpartition(".")
    if variable == "file":
        return _OF_FILE.get(summary, f"{spaced(summary)} of the file")
    if not variable:
        return called.get(name, spaced(name))
    return f"{called.get(variable, spaced(variable))}, {spaced(summary)}"


def in_text(text: str) -> str:
    """Text with its metrics called by their names and commands in quotes.

    >>> in_text("death auroc in gate, only `medai promote` helps")
    'death AUROC in gate, only “medai promote” helps'
    """
    return _COMMAND.sub(r"“\1”", _METRIC.sub(lambda found: _lower(METRICS[found[1]][0]), text))


_PEOPLE = ("Brier", "Dice", "Hausdorff")


def _lower(name: str) -> str:
    """A metric's name in running text: abbreviations and names of people keep their capital."""
    kept = name[1:2].isupper() or name[1:2].isdigit() or name.startswith(_PEOPLE)
    return name if kept else name[0].lower() + name[1:]


def model(name: str, kind: str) -> str:
    """What a run's model is called: the network by its kind, the others by their names.

    >>> model("net", "gru"), model("gradient_boosting", "gru")
    ('recurrent network (GRU)', 'gradient boosting')
    """
    called = kind if name == NET else name
    return MODELS.get(called, spaced(called))


def threshold(choice: dict[str, Any]) -> str:
    """How a threshold was chosen, as the end of a sentence."""
    if choice["method"] == "fixed":
        return "It was fixed in the Problem file, before any data were seen."
    where = THRESHOLDS[choice["method"]].format(**choice)
    return f"It was chosen on the validation rows, {where}; test had no say in it."


def recipe(training: dict[str, Any]) -> list[tuple[str, str]]:
    """The training section of a Problem, key by key, without what is switched off."""
    told = []
    for name, value in training.items():
        if value is None or value is False or value == 0:
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{spaced(key)} {_plain(one)}" for key, one in value.items() if one)
        if value:
            told.append((spaced(name).capitalize(), _plain(value)))
    return told


def _plain(value: Any) -> str:
    return "on" if value is True else f"{value:g}" if isinstance(value, float) else spaced(str(value))


def source(config: dict[str, Any]) -> str:
    """What format a source's files have: the first sentence of its reader's own description."""
    from pydantic import TypeAdapter

    from medai.sources import Source, reader

    module = reader(TypeAdapter(Source).validate_python(config))
    described = str(getattr(module, "__doc__", None) or "").partition("\n")[0]
    return described.replace("``", "").rstrip(".")
