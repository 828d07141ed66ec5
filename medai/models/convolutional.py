"""Nets for pictures: {"pixels": (height, width, channels) uint8}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from medai.models.nets import Augmentation, Head, Layers, inputs_of
from medai.records import Frozen

if TYPE_CHECKING:
    import keras

PIXELS = {"pixels": "uint8"}

Scaling = Literal["standardise", "unit", "percentiles"]
"""How grey levels come to a net, as constants of the net itself: less the training pixels' mean and by their standard
deviation; 0–255 as 0–1; or from their 1st to their 99th percentile as 0–1, what lies beyond drawn in."""


def scaled(inputs: Any, statistics: dict[str, Any], array: str, scaling: Scaling) -> tuple[Any, float]:
    """Grey levels as a net takes them, and the training pixels' standard deviation in those units.

    Args:
        inputs: (samples, …, channels) uint8, a Keras tensor.
        statistics: of the array: mean and deviation, one value a channel; for percentiles also ``ARRAY_range``.
        array: its name in the statistics.
    """
    import keras

    from medai.models.layers import Standardise, Window

    deviation = statistics[array]["deviation"]
    spread = sum(value or 0.0 for value in deviation) / len(deviation)
    if scaling == "unit":
        return keras.layers.Rescaling(1 / 255, name="scale")(inputs), spread / 255
    if scaling == "percentiles":
        levels = statistics[f"{array}_range"]
        widths = [high - low or 1 for low, high in zip(levels["low"], levels["high"], strict=True)]
        return Window(**levels, name="window")(inputs), spread * len(widths) / sum(widths)
    return Standardise(**statistics[array], name="standardise")(inputs), 1.0


class SmallCNN(Frozen):
    """Convolutions 3×3 with ReLU and max-pooling by 2, then dense layers: the net that textbooks start with.

    ``filters: [32, 64], dense: 128`` is the net on 28×28 grey pictures; with ``dense: null`` its shorter sister; and
    ``filters: [32, 64, 64], pools: 2, dense: 64`` the net on 32×32 colour pictures, whose last convolution is not
    pooled; ``filters: [32, 64, 128], dense: 512`` the net on 150×150 colour pictures. The head gives probabilities
    where some of those give logits: the same scores after softmax.

    Attributes:
        filters: filters of each convolution.
        pools: how many of the convolutions, from the first on, are followed by a max-pool; all of them when null.
        dense: units of the dense layer before the head, none when null.
        dropout: share of the features before the head that is dropped in training.
        scaling: see ``Scaling``.
        binary_head: how a binary output is scored: one unit's ``sigmoid``, or ``softmax`` over two units, negative and
            positive, of which the positive's probability is the score: the same loss, twice the head's weights.
    """

    kind: Literal["small_cnn"]
    filters: tuple[PositiveInt, ...] = Field(default=(32, 64), min_length=1)
    pools: int | None = Field(default=None, ge=0)
    dense: PositiveInt | None = 128
    dropout: float = Field(default=0.0, ge=0, lt=1)
    scaling: Scaling = "standardise"
    binary_head: Literal["sigmoid", "softmax"] = "sigmoid"

    @model_validator(mode="after")
    def _no_pool_without_convolution(self) -> SmallCNN:
        if self.pools is not None and self.pools > len(self.filters):
            raise ValueError(f"pools must be at most the {len(self.filters)} convolutions, not {self.pools}")
        return self

    def build(
        self,
        shapes: dict[str, tuple[int, ...]],
        statistics: dict[str, Any],
        head: Head,
        augmentation: Augmentation | None,
        seed: int,
    ) -> keras.Model:
        """A model from raw pixels to scores; see ``ResidualCNN.build``."""
        import keras

        layers = Layers(seed)
        inputs = inputs_of(shapes, PIXELS, self.kind)
        features, spread = scaled(inputs["pixels"], statistics, "pixels", self.scaling)
        features = layers.augment(augmentation, spread)(features)
        pools = len(self.filters) if self.pools is None else self.pools
        for number, filters in enumerate(self.filters, start=1):
            features = layers.convolution(f"convolution_{number}", filters, 3, activation="relu")(features)
            if number <= pools:
                features = keras.layers.MaxPooling2D(2, name=f"pool_{number}")(features)
        features = keras.layers.Flatten(name="flatten")(features)
        if self.dense is not None:
            features = layers.dense("dense", self.dense, "relu")(features)
        features = layers.dropout("dropout", self.dropout)(features)
        if head.kind == "binary" and self.binary_head == "softmax":
            both = layers.dense("both_classes", 2, "softmax")(features)
            scores = keras.layers.Cropping1D((1, 0), name="positive")(keras.layers.Reshape((2, 1), name="pair")(both))
            return keras.Model(inputs, keras.layers.Flatten(name="scores")(scores), name=self.kind)
        return keras.Model(inputs, layers.scores(head)(features), name=self.kind)


class ResidualCNN(Frozen):
    """A residual net (He et al. 2016, doi:10.1109/CVPR.2016.90) small enough for a CPU.

    A 3×3 stem, then one stage for each entry of ``filters``: the stage's first block halves height and width (but
    for the first stage, unless ``reduce_first``), each block is two 3×3 convolutions with batch normalisation and a
    shortcut. The mean over the picture goes to the head.

    Attributes:
        filters: filters of each stage; the stem has as many as the first.
        blocks: residual blocks in each stage.
        reduce_first: whether the first stage halves height and width too: a quarter of the work.
        dropout: share of the pooled features that is dropped in training.
        normalisation_momentum: how slowly batch normalisation's running mean and variance move.
        scaling: see ``Scaling``.
    """

    kind: Literal["residual_cnn"]
    filters: tuple[PositiveInt, ...] = Field(default=(32, 64, 128), min_length=1)
    blocks: PositiveInt = 1
    reduce_first: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)
    normalisation_momentum: float = Field(default=0.9, gt=0, lt=1)
    scaling: Scaling = "standardise"

    def build(
        self,
        shapes: dict[str, tuple[int, ...]],
        statistics: dict[str, Any],
        head: Head,
        augmentation: Augmentation | None,
        seed: int,
    ) -> keras.Model:
        """A model from raw pixels to scores.

        Args:
            shapes: {"pixels": (height, width, channels)}.
            statistics: {"pixels": {"mean": one value a channel, "deviation": the same}}, of the training pixels.
            head: what it scores.
            augmentation: random changes in training.
            seed: of initial weights, dropout and augmentation.

        Returns:
            A model that takes {"pixels": (samples, height, width, channels) uint8} and gives float32
            (samples, columns).
        """
        import keras

        layers, momentum = Layers(seed), self.normalisation_momentum
        inputs = inputs_of(shapes, PIXELS, self.kind)
        features, spread = scaled(inputs["pixels"], statistics, "pixels", self.scaling)
        features = layers.augment(augmentation, spread)(features)
        features = normalised(layers, "stem", features, self.filters[0], 3, 1, momentum)
        features = keras.layers.ReLU(name="stem_relu")(features)
        for stage, filters in enumerate(self.filters, start=1):
            for block in range(1, self.blocks + 1):
                name = f"stage_{stage}_block_{block}"
                halve = block == 1 and (stage > 1 or self.reduce_first)
                features = residual_block(layers, name, features, filters, 2 if halve else 1, momentum)
        features = keras.layers.GlobalAveragePooling2D(name="pool")(features)
        features = layers.dropout("dropout", self.dropout)(features)
        return keras.Model(inputs, layers.scores(head)(features), name=self.kind)


def normalised(layers: Layers, name: str, features: Any, filters: int, size: int, stride: int, momentum: float) -> Any:
    """A convolution in as many dimensions as the features have, then batch normalisation."""
    import keras

    convolution = layers.convolution if len(features.shape) == 4 else layers.convolution_3d
    features = convolution(f"{name}_convolution", filters, size, strides=stride, padding="same", use_bias=False)(
        features
    )
    return keras.layers.BatchNormalization(momentum=momentum, name=f"{name}_norm")(features)


def residual_block(layers: Layers, name: str, features: Any, filters: int, stride: int, momentum: float) -> Any:
    """Two convolutions beside a shortcut, which is projected where size or filters change (He K, et al. CVPR 2016)."""
    import keras

    shortcut = features
    if stride > 1 or features.shape[-1] != filters:
        shortcut = normalised(layers, f"{name}_shortcut", features, filters, 1, stride, momentum)
    features = normalised(layers, f"{name}_first", features, filters, 3, stride, momentum)
    features = keras.layers.ReLU(name=f"{name}_first_relu")(features)
    features = normalised(layers, f"{name}_second", features, filters, 3, 1, momentum)
    features = keras.layers.Add(name=f"{name}_add")([features, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu")(features)
