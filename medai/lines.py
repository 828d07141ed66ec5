"""Lines of champions: who may be compared with whom.

Champions of one line answered the same question under the same rules; the data may have grown between them. A line is
named by four hashes, of the source, the cohort's definition, the outputs and the gate's rules, so that two names alone
say which of the four differ.
"""

from __future__ import annotations

from typing import Any, Self

from medai.records import Frozen, sha256_of

PARTS = ("source", "cohort", "outputs", "gate")
_LENGTH = 16
"""Hexadecimal digits of a part's hash: 64 bits tell the few lines that a problem ever has."""


class Protocol(Frozen):
    """Under what a version was, or would be, promoted.

    Attributes:
        line: the name of its line; empty in a ledger of before there were lines.
        models: hash of all models that its Problem names, with the rule that chooses among them; empty likewise.
    """

    line: str = ""
    models: str = ""

    @classmethod
    def of(cls, *, source: Any, cohort: Any, outputs: Any, gate: Any, models: Any) -> Self:
        """The protocol of a Problem, from the JSON of its parts.

        >>> parts = {"source": {"kind": "x"}, "cohort": {}, "outputs": {}, "gate": None, "models": {}}
        >>> one, other = Protocol.of(**parts), Protocol.of(**parts | {"cohort": {"hours": 24}})
        >>> one.differences(one), one.differences(other)
        ((), ('cohort',))
        """
        hashes = (sha256_of(part)[:_LENGTH] for part in (source, cohort, outputs, gate))
        return cls(line="-".join(hashes), models=sha256_of(models)[:_LENGTH])

    def differences(self, other: Protocol | None) -> tuple[str, ...] | None:
        """Which of ``PARTS`` differ from another protocol's; None where one of the two is not known.

        >>> Protocol(line="1-2-3-4").differences(Protocol()) is None
        True
        """
        ours, theirs = (() if one is None else tuple(one.line.split("-")) for one in (self, other))
        if not len(ours) == len(theirs) == len(PARTS):
            return None
        return tuple(part for part, mine, yours in zip(PARTS, ours, theirs, strict=True) if mine != yours)
