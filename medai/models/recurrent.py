"""Nets for clinical series: hourly steps of the variables, and beside them what is known of the whole stay."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt

from medai.errors import ConfigurationError
from medai.models.nets import Augmentation, Head, Layers, inputs_of
from medai.records import Frozen

if TYPE_CHECKING:
    import keras

SERIES = {"last": "float32", "mask": "uint8", "elapsed": "uint8", "static": "float32", "summaries": "float32"}


class _Recurrent(Frozen):
    """What GRU and LSTM share.

    At each hour the recurrent layer sees the last value (standardised, 0 before the first measurement), whether it was
    measured in that hour, and the hours since then as a share of the whole: the "simple" inputs of Che et al. 2018
    (doi:10.1038/s41598-018-24271-9). Its end state is joined by a wide path: static and summary values, standardised,
    with a flag where one is missing, through a dense layer.

    Attributes:
        kind: which recurrent layer.
        units: size of the recurrent state.
        projection: units of a dense layer over each hour's inputs before the recurrent layer; none when null.
        wide: units of the dense layer over static and summary values; null joins them as they are.
        dropout: share of the hourly inputs, of the wide inputs and of the joined features that is dropped in training.
        limit: standardised values are drawn in to this many deviations, so that no slip of the pen decides.
    """

    kind: str
    units: PositiveInt = 16
    projection: PositiveInt | None = None
    wide: PositiveInt | None = 64
    dropout: float = Field(default=0.5, ge=0, lt=1)
    limit: float = Field(default=6.0, gt=0)

    @abstractmethod
    def _recurrence(self, layers: Layers) -> Any:
        """The recurrent layer, (samples, steps, inputs) → (samples, units)."""

    def build(
        self,
        shapes: dict[str, tuple[int, ...]],
        statistics: dict[str, Any],
        head: Head,
        augmentation: Augmentation | None,
        seed: int,
    ) -> keras.Model:
        """A model from raw series to scores.

        Args:
            shapes: {"last": (T, F), "mask": (T, F), "elapsed": (T, F), "static": (S,), "summaries": (F × K,)};
                static and summaries may be absent or empty.
            statistics: array → {"mean": one value a column, "deviation": the same}, for last, static and summaries,
                over the measured values of the training samples.
            head: what it scores.
            augmentation: must be None: it is for pictures.
            seed: of initial weights and dropout.

        Returns:
            A model that takes {"last": float32, NaN before the first measurement; "mask": uint8, 1 where measured in
            that hour; "elapsed": uint8, hours since then, T if never; "static", "summaries": float32, NaN where
            missing} and gives float32 (samples, columns).
        """
        import keras

        from medai.models.layers import Standardise

        if augmentation is not None:
            raise ConfigurationError(
                "a series has no pixels to augment",
                expected="no augmentation beside a recurrent encoder",
                received="an augmentation",
                action="remove the augmentation from the training section",
            )
        layers = Layers(seed)
        inputs = inputs_of({name: shape for name, shape in shapes.items() if 0 not in shape}, SERIES, self.kind)
        steps = shapes["last"][0]
        hours = [
            Standardise(**statistics["last"], limit=self.limit, name="last_standardised")(inputs["last"]),
            keras.layers.Rescaling(1.0, name="mask_cast")(inputs["mask"]),
            keras.layers.Rescaling(1 / steps, name="elapsed_share")(inputs["elapsed"]),
        ]
        hourly = layers.dropout("hourly_dropout", self.dropout)(keras.layers.Concatenate(name="hourly")(hours))
        if self.projection is not None:
            hourly = layers.dense("projection", self.projection, "relu")(hourly)
        state = self._recurrence(layers)(hourly)
        beside = self._wide(layers, inputs, statistics)
        features = state if beside is None else keras.layers.Concatenate(name="joined")([state, beside])
        features = layers.dropout("dropout", self.dropout)(features)
        return keras.Model(inputs, layers.scores(head)(features), name=self.kind)

    def _wide(self, layers: Layers, inputs: dict[str, Any], statistics: dict[str, Any]) -> Any:
        import keras

        from medai.models.layers import Missing, Standardise

        known = [
            layer
            for name in ("static", "summaries")
            if name in inputs
            for layer in (
                Standardise(**statistics[name], limit=self.limit, name=f"{name}_standardised")(inputs[name]),
                Missing(name=f"{name}_missing")(inputs[name]),
            )
        ]
        if not known:
            return None
        beside = layers.dropout("wide_dropout", self.dropout)(keras.layers.Concatenate(name="known")(known))
        return beside if self.wide is None else layers.dense("wide", self.wide, "relu")(beside)


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al. 2014, doi:10.3115/v1/D14-1179) over the hours of a stay."""

    kind: Literal["gru"]

    def _recurrence(self, layers: Layers) -> Any:
        import keras

        return keras.layers.GRU(self.units, **layers.recurrent("gru"))


class LSTM(_Recurrent):
    """Long short-term memory, with input, forget and output gates (Gers et al. 2000, 10.1162/089976600300015015)."""

    kind: Literal["lstm"]

    def _recurrence(self, layers: Layers) -> Any:
        import keras

        return keras.layers.LSTM(self.units, **layers.recurrent("lstm"))
