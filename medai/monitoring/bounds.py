"""From where on a difference counts: the ``monitoring`` section of a Problem."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from medai.records import Frozen


class Monitoring(Frozen):
    """Bounds of the windows, and how often one must be passed before it counts.

    A bound is passed by more than chance alone explains: see ``medai.monitoring.statistics``.

    Attributes:
        repeats, of_last: a violation counts when so many of the last windows of its kind and measure have it.
        minimum_subjects: fewest subjects, here and in the reference, of whom a distribution or a share is compared.
        minimum_readings: fewest readings of a variable, here and in the reference, for its units to be compared.
        minimum_positives, minimum_negatives: fewest subjects of a class for a performance to be judged.
        significance: chance of a false violation in one window by each kind of measure, shared among those of its kind
            that are compared: distributions, shares of subjects (missing, alerts), codes with units.
        psi: largest population stability index. From 0.25 on a shift is called significant, between 0.1 and 0.25
            moderate (Lewis 1994, An Introduction to Credit Scoring; Siddiqi 2006, Credit Risk Scorecards). For two
            normal distributions of one spread it is the squared distance of the means: 0.25 is half a deviation.
        ks: largest distance of two distribution functions; 0.2 is half a deviation of two such distributions, too.
        missing: largest change of the share of subjects without a value.
        units: largest total variation distance between two mixes of units.
        codes: largest share of readings whose code the other side does not have.
        alerts: largest change of the share of subjects over the threshold.
        loss: how much worse than on the champion's own test a metric may be, by the favourable end of its interval.
        floors: metric → value that the favourable end of its interval must reach, from 0 to 1;
            the gate's when left out.
        calibration_intercept: largest distance from 0 of the recalibration's intercept, in log-odds.
        calibration_slope: smallest slope of the recalibration; its inverse is the largest.
    """

    repeats: int = Field(2, ge=1)
    of_last: int = Field(5, ge=1, le=100)
    minimum_subjects: int = Field(30, ge=10)
    minimum_readings: int = Field(100, ge=10)
    minimum_positives: int = Field(10, ge=2)
    minimum_negatives: int = Field(10, ge=2)
    significance: float = Field(0.01, gt=0, lt=0.5)
    psi: float = Field(0.25, gt=0)
    ks: float = Field(0.2, gt=0, le=1)
    missing: float = Field(0.1, gt=0, le=1)
    units: float = Field(0.1, gt=0, le=1)
    codes: float = Field(0.05, gt=0, le=1)
    alerts: float = Field(0.1, gt=0, le=1)
    loss: float = Field(0.05, gt=0, le=1)
    floors: dict[str, Annotated[float, Field(ge=0, le=1)]] | None = None
    calibration_intercept: float = Field(0.5, gt=0)
    calibration_slope: float = Field(0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _can_be_met(self) -> Monitoring:
        if self.repeats > self.of_last:
            raise ValueError("monitoring.repeats: so many violations do not fit in monitoring.of_last windows")
        return self
