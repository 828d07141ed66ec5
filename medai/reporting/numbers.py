"""Numbers as a reader sees them: three significant digits, true minus signs, thousands apart."""

from __future__ import annotations

import re

from medai.records import Measure

MINUS = "\u2212"
_SMALLEST = 0.001
_HYPHEN = re.compile(r"(?<![\w.])-(?=\d)")


def three(value: float) -> str:
    """Three significant digits, at most four decimals.

    >>> [three(number) for number in (0.87654, 0.0345, 12.34, 0.9996, -0.01234, 1234.5, 0.0, 0.00002)]
    ['0.877', '0.0345', '12.3', '1.00', '−0.0123', '1,234', '0', '<0.001']
    """
    if value == 0:
        return "0"
    if abs(value) < _SMALLEST:
        return f"<{_SMALLEST}" if value > 0 else f">{MINUS}{_SMALLEST}"
    exponent = int(f"{abs(value):.2e}".partition("e")[2])
    return minus(f"{value:,.{min(4, max(0, 2 - exponent))}f}")


def signed(value: float) -> str:
    """A difference, with its sign.

    >>> [signed(number) for number in (0.01234, -0.2, 0.00001)]
    ['+0.0123', '−0.200', '0.000']
    """
    if abs(value) < _SMALLEST / 2:
        return "0.000"
    text = minus(f"{value:+.3f}" if abs(value) < _SMALLEST else three(value))
    return text if text.startswith((MINUS, "+")) else f"+{text}"


def between(measure: Measure) -> str:
    """An interval.

    >>> between(Measure(value=0.5, low=0.41234, high=0.6))
    '0.412 to 0.600'
    """
    return f"{three(measure.low)} to {three(measure.high)}"


def between_signed(measure: Measure) -> str:
    """An interval of a difference."""
    return f"{signed(measure.low)} to {signed(measure.high)}"


def drifted(value: float | None, statistic: str) -> str:
    """A figure of drift: changes of a share in percentage points, shares in percent, all else as it is.

    >>> [drifted(*one) for one in ((-0.05, "alerts"), (0.07, "codes"), (0.3, "psi"), (None, "psi"))]
    ['−5.0 points', '7.0 %', '0.300', '–']
    """
    if value is None:
        return "–"
    if statistic in ("missing", "alerts"):
        return minus(f"{100 * value:+.1f} points")
    return f"{100 * value:.1f} %" if statistic in ("units", "codes") else three(value)


def count(number: int) -> str:
    """A whole number.

    >>> count(558384)
    '558,384'
    """
    return f"{number:,}"


def percent(share: float) -> str:
    """A share of one, as per cent, with a space that does not break; all and none are told from nearly so.

    >>> [" ".join(percent(share).split()) for share in (0.1384, 0.0005, 1, 0, 0.625)]
    ['13.8 %', '0.05 %', '100 %', '0 %', '62.5 %']
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", "\u00a0%")
    figure = f"{100 * share:.2g}" if share < 0.01 else f"{100 * share:.1f}"
    return f"{figure}\u00a0%"


def minus(text: str) -> str:
    """Hyphens before digits become minus signs.

    >>> minus("0.1 [-0.2, 0.3], 2000-01-01")
    '0.1 [−0.2, 0.3], 2000-01-01'
    """
    return _HYPHEN.sub(MINUS, text)


def several(number: int, noun: str) -> str:
    """A count and its noun.

    >>> several(1, "stay"), several(1200, "stay"), several(2, "study")
    ('1 stay', '1,200 stays', '2 studies')
    """
    if number != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
    return f"{count(number)} {noun}"


def subjects(number: int, unit: str) -> str:
    """A count of subjects. A picture without a known patient is a subject by its content: copies are one.

    >>> subjects(1080, "patient"), subjects(5827, "image"), subjects(1, "image")
    ('1,080 patients', '5,827 different images', '1 image')
    """
    return several(number, f"different {unit}" if unit == "image" and number != 1 else unit)


def samples_of(samples: int, number: int, unit: str) -> str:
    """Samples and their subjects.

    >>> samples_of(5830, 5827, "image"), samples_of(60, 60, "stay")
    ('5,830 samples of 5,827 different images', '60 samples of 60 stays')
    """
    return f"{several(samples, 'sample')} of {subjects(number, unit)}"


def upper_first(text: str) -> str:
    """A sentence's beginning; the rest stays, and so does a word that has its own capitals.

    >>> upper_first("recurrent network (GRU)"), upper_first("pH of the blood")
    ('Recurrent network (GRU)', 'pH of the blood')
    """
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def listed(words: list[str]) -> str:
    """Words as a sentence lists them.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def out_of_hundred(counts: list[int]) -> list[int]:
    """Counts as whole parts of a hundred that add up to it: the largest remainders are rounded up.

    >>> out_of_hundred([1, 1, 1, 0])
    [34, 33, 33, 0]
    """
    whole = sum(counts)
    if whole == 0:
        return [0] * len(counts)
    parts = [100 * number // whole for number in counts]
    rests = sorted(range(len(counts)), key=lambda place: -(100 * counts[place] % whole))
    for place in rests[: 100 - sum(parts)]:
        parts[place] += 1
    return parts
