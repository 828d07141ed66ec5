"""Nets for volumes: {"volume": (depth, height, width, 1) uint8}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt

from medai.models.convolutional import Scaling, normalised, residual_block, scaled
from medai.models.nets import Augmentation, Head, Layers, inputs_of
from medai.records import Frozen

if TYPE_CHECKING:
    import keras

VOLUME = {"volume": "uint8"}


class ResidualCNN3D(Frozen):
    """A residual net of 3-D convolutions, small enough for a CPU.

    ``ResidualCNN`` with a third axis, as Hara et al. 2018 (doi:10.1109/CVPR.2018.00685) did with the residual nets: a
    3×3×3 stem, stages that halve every side, blocks of two convolutions with batch normalisation and a shortcut, the
    mean over the volume.

    Attributes:
        filters: filters of each stage; the stem has as many as the first.
        blocks: residual blocks in each stage.
        reduce_first: whether the stem halves every side: an eighth of the work.
        dropout: share of the pooled features that is dropped in training.
        normalisation_momentum: how slowly batch normalisation's running mean and variance move.
        scaling: how grey levels come in: see ``convolutional.Scaling``.
    """

    kind: Literal["cnn3d"]
    filters: tuple[PositiveInt, ...] = Field(default=(16, 32, 64), min_length=1)
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
        """A model from raw voxels to scores; see ``ResidualCNN.build``.

        Args:
            shapes: {"volume": (depth, height, width, 1)}.
            statistics: {"volume": {"mean": [m], "deviation": [d]}}, of the training voxels.
        """
        import keras

        layers, momentum = Layers(seed), self.normalisation_momentum
        inputs = inputs_of(shapes, VOLUME, self.kind)
        features, spread = scaled(inputs["volume"], statistics, "volume", self.scaling)
        features = layers.augment(augmentation, spread)(features)
        features = normalised(layers, "stem", features, self.filters[0], 3, 2 if self.reduce_first else 1, momentum)
        features = keras.layers.ReLU(name="stem_relu")(features)
        for stage, filters in enumerate(self.filters, start=1):
            for block in range(1, self.blocks + 1):
                name = f"stage_{stage}_block_{block}"
                stride = 2 if block == 1 and stage > 1 else 1
                features = residual_block(layers, name, features, filters, stride, momentum)
        features = keras.layers.GlobalAveragePooling3D(name="pool")(features)
        features = layers.dropout("dropout", self.dropout)(features)
        return keras.Model(inputs, layers.scores(head)(features), name=self.kind)
