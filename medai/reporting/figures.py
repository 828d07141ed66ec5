"""Figures of a report: ROC, precision–recall, calibration, confusion and training curves.

Each function draws points that evaluation has worked out (``medai.measurement.metrics.roc_points`` and its neighbours)
into one SVG or PNG file, by the file's suffix. Equal points give equal bytes: no date, fixed ids. Colours are those of
Okabe & Ito 2008, told apart by colour-blind readers; lines differ by their dashes too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medai.records import Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Blue for the candidate, then vermilion, green, purple, sky blue and orange (Okabe & Ito 2008, without the yellow)."""
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
INK = "#222222"
PALE = "#8a8a8a"
_GUIDE: dict[str, Any] = {"color": PALE, "linewidth": 0.9, "linestyle": (0, (2, 3))}
_HALO = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
_TALL = 12
"""Rows of a confusion matrix from which on they are drawn closer."""
_STYLE = {
    "svg.hashsalt": "medai",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a class name may hold a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": PALE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 2.6,
}


@dataclass(frozen=True)
class Curve:
    """One model's curve.

    Attributes:
        name: the model, as the legend calls it.
        x, y: (points,) each.
        measure: the figure that sums the curve up, with its interval, for the legend.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    measure: Measure | None = None


@dataclass(frozen=True)
class Reliability:
    """One model's calibration by bins of its score, as ``metrics.reliability_points`` gives it.

    Attributes:
        name: the model.
        score, share: (bins,) mean score and share of positives; NaN in empty bins.
        rows: (bins,) rows in each bin.
        measure: the expected calibration error with its interval.
    """

    name: str
    score: ArrayLike
    share: ArrayLike
    rows: ArrayLike
    measure: Measure | None = None


def draw_roc(path: Path, curves: Sequence[Curve], *, faint: Sequence[Curve] = (), title: str = "ROC curve") -> None:
    """ROC curves, the candidate first; measures are AUROCs. x: false positive rate, y: sensitivity.

    Args:
        path: .svg or .png.
        curves: by name.
        faint: too many to be told apart, drawn behind, under one name.
        title: above the plot.
    """

    def draw(figure: Figure) -> None:
        axes = _unit(figure, title, "1 − specificity", "Sensitivity")
        axes.plot([0, 1], [0, 1], zorder=1.5, **_GUIDE)
        axes.text(0.3, 0.3, "chance", rotation=45, ha="center", va="center", color=PALE, fontsize=8, bbox=_HALO)
        _behind(axes, faint)
        _lines(axes, curves, "AUROC")
        axes.set_aspect("equal")
        axes.legend(*_ordered(axes), loc="lower right")

    _save(path, (4.8, 4.9), draw)


def draw_precision_recall(
    path: Path,
    curves: Sequence[Curve],
    *,
    prevalence: float,
    faint: Sequence[Curve] = (),
    title: str = "Precision–recall curve",
) -> None:
    """Precision–recall curves, the candidate first; measures are AUPRCs. x: sensitivity, y: PPV.

    Args:
        path: .svg or .png.
        curves: points by rising sensitivity.
        prevalence: share of positives, the PPV of guessing.
        faint: too many to be told apart, drawn behind, under one name.
        title: above the plot.
    """

    def draw(figure: Figure) -> None:
        axes = _unit(figure, title, "Sensitivity (recall)", "PPV (precision)")
        axes.axhline(prevalence, **_GUIDE)
        side, shift = ("bottom", 0.012) if prevalence < 0.5 else ("top", -0.012)
        axes.text(0.01, prevalence + shift, f"prevalence {prevalence:.2f}", color=PALE, fontsize=8, va=side)
        _behind(axes, faint, step=True)
        _lines(axes, curves, "AUPRC", step=True)
        figure.legend(*_ordered(axes), loc="outside lower center", ncols=2)

    _save(path, (4.8, _below(4.5, len(curves) + bool(faint))), draw)


def draw_calibration(path: Path, curves: Sequence[Reliability], *, title: str = "Calibration") -> None:
    """Share of positives against mean score by bins, and below it how many rows the candidate has in each bin."""

    def draw(figure: Figure) -> None:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4.2, 1))
        _dress(axes, title, "", "Observed share of positives")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
        axes.plot([0, 1], [0, 1], label="perfect calibration", zorder=1.5, **_GUIDE)
        for place, curve in reversed(list(enumerate(curves))):
            score, share, rows = _array(curve.score), _array(curve.share), _array(curve.rows)
            some = rows > 0
            axes.plot(
                score[some],
                share[some],
                label=_legend(curve.name, "ECE", curve.measure),
                marker="o",
                markersize=5 if place == 0 else 3.5,
                **_line(place),
            )
        figure.legend(*_ordered(axes), loc="outside lower center", ncols=2)
        rows = _array(curves[0].rows)
        edges = np.linspace(0, 1, len(rows) + 1)
        below.bar(edges[:-1], rows, np.diff(edges), align="edge", color=COLOURS[0], edgecolor="white", linewidth=1)
        _dress(below, "", "Predicted probability", "Rows")
        below.set_title(curves[0].name, fontsize=8.5, color=COLOURS[0], loc="left", pad=3)
        below.yaxis.get_major_locator().set_params(nbins=3, integer=True)

    _save(path, (4.8, _below(5.2, len(curves) + 1)), draw)


def draw_net_benefit(
    path: Path, curves: Sequence[Curve], *, everybody: Curve, threshold: float, title: str = "Decision curve"
) -> None:
    """Net benefit of acting on the answers against the risk from which one acts (Vickers & Elkin 2006).

    Args:
        path: .svg or .png.
        curves: (thresholds,) net benefits a row, the candidate first.
        everybody: the same of acting without a model.
        threshold: the candidate's own, marked.
        title: above the plot.
    """

    def draw(figure: Figure) -> None:
        axes = _unit(figure, title, "Risk from which one would act", "Net benefit per sample")
        # Without a positive nothing is gained anywhere: the axis then needs a height of its own.
        highest = max(0.01, *(float(_array(curve.y).max()) for curve in (*curves, everybody)))
        axes.set_ylim(-0.12 * highest, 1.08 * highest)
        axes.axhline(0, label="act on nobody", color=PALE, linewidth=1)
        axes.plot(_array(everybody.x), _array(everybody.y), label=everybody.name, **_GUIDE)
        axes.axvline(threshold, color="#d0d0d0", linewidth=1)
        side, shift = ("right", -0.012) if threshold > 0.7 else ("left", 0.012)
        axes.text(threshold + shift, 1.02 * highest, "threshold", color=PALE, fontsize=8, ha=side, bbox=_HALO)
        _lines(axes, curves, "")
        handles, labels = _ordered(axes)
        figure.legend(handles, labels, loc="outside lower center", ncols=2)

    _save(path, (4.8, _below(4.5, len(curves) + 2)), draw)


def draw_confusion(
    path: Path,
    matrix: Sequence[Sequence[int]],
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    *,
    title: str = "Confusion matrix",
) -> None:
    """Counts, shaded by their share of the row.

    Args:
        path: .svg or .png.
        matrix: (rows, columns) counts; rows true, columns predicted.
        rows: names of the true classes, or of the findings.
        columns: names of the columns; None: the true classes again.
        title: above the plot.
    """
    counts = np.asarray(matrix, np.int64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    high, wide = counts.shape

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.imshow(shares, cmap=_blues(), vmin=0, vmax=1, aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            ink = "white" if share > 0.55 else INK
            axes.text(column, row - 0.06, f"{counts[row, column]:,}", ha="center", va="bottom", fontsize=11, color=ink)
            axes.text(column, row + 0.06, f"{share:.0%}", ha="center", va="top", fontsize=8, color=ink)
        axes.set_xticks(range(wide), [fill(name, 14) for name in columns or rows])
        axes.set_yticks(range(high), [fill(name, 18) for name in rows])
        axes.set_xticks(np.arange(1, wide) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, high) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=2)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=10)
        if columns is None:
            axes.set(xlabel="Predicted", ylabel="True")

    _save(path, (max(4.2, 2.0 + 1.05 * wide), max(3.0, 1.5 + (0.85 if high <= _TALL else 0.5) * high)), draw)


def draw_reach(path: Path, curves: Sequence[Curve], *, title: str = "Dice reached") -> None:
    """Share of pictures that reach a Dice, the candidate first; measures are means. x: Dice, y: share of pictures.

    Args:
        path: .svg or .png.
        curves: by name.
        title: above the plot.
    """

    def draw(figure: Figure) -> None:
        axes = _unit(figure, title, "Dice", "Share of pictures with a finding that reach it")
        _lines(axes, curves, "mean")
        figure.legend(*_ordered(axes), loc="outside lower center", ncols=min(2, len(curves)))

    _save(path, (4.8, _below(4.9, len(curves))), draw)


def draw_sizes(path: Path, area: ArrayLike, dice: ArrayLike, *, title: str = "Dice by size") -> None:
    """One dot a picture. x: pixels of what is true, on a logarithmic scale; y: Dice.

    Args:
        path: .svg or .png.
        area, dice: (pictures,) each.
        title: above the plot.
    """

    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _dress(axes, title, "Pixels of the true finding", "Dice")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())  # powers of ten would need parsed mathematics
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(ylim=(-0.02, 1.03))
        axes.scatter(_array(area), _array(dice), s=14, color=COLOURS[0], alpha=0.55, linewidths=0)

    _save(path, (4.8, 4.2), draw)


def draw_training(
    path: Path, history: dict[str, Sequence[float]], *, kept: int | None = None, title: str = "Training"
) -> None:
    """Training curves: one panel a quantity, training and validation in it, labelled at their ends.

    Args:
        path: .svg or .png.
        history: quantity → value by epoch; ``val_loss`` is drawn beside ``loss``.
        kept: the epoch, counted from 1, whose weights were kept.
        title: above the panels.
    """
    quantities = [name for name in history if not (name.startswith("val_") and name[4:] in history)]
    quantities.sort(key=lambda name: not name.endswith("loss"))  # the loss first, the others as they come

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(quantities), 1, squeeze=False, sharex=True)[:, 0]
        for axes, quantity in zip(panels, quantities, strict=True):
            _training_panel(axes, quantity, history, kept if axes is panels[0] else None)
            axes.set_xlabel("Epoch" if axes is panels[-1] else "")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")

    _save(path, (4.8, 0.8 + 2.2 * max(1, len(quantities))), draw)


def _training_panel(axes: Axes, quantity: str, history: dict[str, Sequence[float]], kept: int | None) -> None:
    from matplotlib.ticker import MaxNLocator

    shown = quantity.removeprefix("val_")
    _dress(axes, "", "Epoch", shown.upper() if shown.startswith("au") else shown.replace("_", " ").capitalize())
    pair = [name for name in (quantity, f"val_{quantity}") if name in history]
    axes.margins(x=0.02)
    ends = []
    for name in pair:
        # A lone curve of a metric is the validation's: what training watches.
        validation = name.startswith("val_") or (len(pair) == 1 and name != "loss")
        values = _array(history[name])
        epochs = np.arange(1, len(values) + 1)
        line = _line(0) if validation else _line(1)
        axes.plot(epochs, values, **line, marker="o" if len(values) == 1 else None)
        finite = np.isfinite(values)
        if finite.any():
            ends.append((float(values[finite][-1]), "validation" if validation else "training", line["color"]))
    low, high = axes.get_ylim()
    gap = 0.07 * (high - low)
    height = -np.inf
    for value, name, colour in sorted(ends):
        height = max(value, height + gap)
        axes.annotate(
            name,
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            color=colour,
            fontsize=8.5,
            va="center",
            annotation_clip=False,
        )
    if kept is not None:
        axes.axvline(kept, **_GUIDE)
        axes.set_title("kept", x=_fraction(axes, kept), fontsize=8, color=PALE, pad=3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))


def _fraction(axes: Axes, epoch: float) -> float:
    left, right = axes.get_xlim()
    return float((epoch - left) / (right - left))


def _unit(figure: Figure, title: str, x: str, y: str) -> Axes:
    axes = figure.subplots()
    _dress(axes, title, x, y)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
    return axes


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    axes.grid(visible=True)
    axes.set(xlabel=x, ylabel=y)
    axes.tick_params(length=3)
    if title:
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=10)


def _behind(axes: Axes, curves: Sequence[Curve], *, step: bool = False) -> None:
    """Curves without names of their own; the legend tells of the first."""
    for number, curve in enumerate(curves):
        axes.plot(
            _array(curve.x),
            _array(curve.y),
            label="each class alone" if number == 0 else None,
            drawstyle="steps-pre" if step else "default",
            color=PALE,
            linewidth=0.7,
            alpha=0.45,
            zorder=2,
        )


def _lines(axes: Axes, curves: Sequence[Curve], metric: str, *, step: bool = False) -> None:
    """Curves, the first drawn on top."""
    for number, curve in reversed(list(enumerate(curves))):
        label = _legend(curve.name, metric, curve.measure)
        x, y = _array(curve.x), _array(curve.y)
        # Average precision holds each PPV back to the sensitivity before it.
        axes.plot(x, y, label=label, drawstyle="steps-pre" if step else "default", zorder=2.5, **_line(number))


def _ordered(axes: Axes) -> tuple[list[Any], list[Any]]:
    """Handles and labels of the legend, candidate first, though it was drawn last."""
    handles, labels = axes.get_legend_handles_labels()
    return handles[::-1], labels[::-1]


def _below(height: float, entries: int) -> float:
    """Inches with room for a legend of two columns under the plot."""
    return height + 0.4 * ((entries + 1) // 2)


def _legend(name: str, metric: str, measure: Measure | None) -> str:
    if measure is None:
        return name
    return f"{name}\n{metric} {measure.value:.3f} ({measure.low:.3f} to {measure.high:.3f})"


def _line(place: int) -> dict[str, Any]:
    return {
        "color": COLOURS[place % len(COLOURS)],
        "linestyle": DASHES[place % len(DASHES)],
        "linewidth": 2.2 if place == 0 else 1.5,
    }


def _blues() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shares", ["#f3f6f9", "#9cc7e3", COLOURS[0], "#004a75"])


def _array(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)


def _save(path: Path, size: tuple[float, float], draw: Callable[[Figure], None]) -> None:
    """Draw with Agg's canvas and without pyplot's register of figures; write SVG or PNG without date or version."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    # From the defaults, so that a reader's own matplotlibrc changes nothing.
    style: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_STYLE}
    del style["backend"]  # looking it up would import pyplot
    with matplotlib.rc_context(style):
        figure = Canvas(figsize=size, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        draw(figure)
        plain = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, format=path.suffix[1:], dpi=150, metadata=plain)
