"""The U-Net: a class for every pixel of {"pixels": (height, width, channels) uint8}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt

from medai.models.convolutional import PIXELS, scaled
from medai.models.nets import Augmentation, Head, Layers, inputs_of
from medai.records import Frozen

if TYPE_CHECKING:
    import keras

_GROUPS = 8
"""Largest number of groups of a group normalisation; fewer where the filters do not divide by it."""


class UNet(Frozen):
    """A U-Net (Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28).

    Down a contracting path, height and width are halved and what is seen widens; up an expanding one they are doubled
    again, and each level is given what its counterpart on the way down saw. A block is two 3×3 convolutions, each
    normalised and rectified; a residual one adds its input to their result (He et al. 2016).

    Attributes:
        filters: filters of each level, from the full size down; each but the first halves height and width.
        residual: whether a block adds its input.
        normalisation: ``batch``, or ``group`` (Wu and He 2018), which does not depend on who else is in the batch.
        dropout: share of the deepest level's features that is dropped in training.
        normalisation_momentum: how slowly batch normalisation's running mean and variance move.
    """

    kind: Literal["unet"]
    filters: tuple[PositiveInt, ...] = Field(default=(16, 32, 64), min_length=2)
    residual: bool = True
    normalisation: Literal["batch", "group"] = "batch"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    normalisation_momentum: float = Field(default=0.9, gt=0, lt=1)

    @property
    def step(self) -> int:
        """What height and width must divide by, so that each level has its counterpart's size."""
        return 1 << (len(self.filters) - 1)

    def build(
        self,
        shapes: dict[str, tuple[int, ...]],
        statistics: dict[str, Any],
        head: Head,
        augmentation: Augmentation | None,
        seed: int,
    ) -> keras.Model:
        """A model from raw pixels to a probability of each class at each pixel.

        Args:
            shapes: {"pixels": (height, width, channels)}, both sides a multiple of ``step``.
            statistics: {"pixels": {"mean": one value a channel, "deviation": the same}}, of the training pixels.
            head: what it scores.
            augmentation: random changes of levels in training; what moves pixels must move the truth, too, and is none
                of the net's (``medai.training.masks``).
            seed: of initial weights, dropout and augmentation.

        Returns:
            A model that takes {"pixels": (samples, height, width, channels) uint8} and gives float32
            (samples, height, width, columns).
        """
        import keras

        layers = Layers(seed)
        inputs = inputs_of(shapes, PIXELS, self.kind)
        features, spread = scaled(inputs["pixels"], statistics, "pixels", "standardise")
        features = layers.augment(augmentation, spread)(features)
        seen: list[Any] = []
        for level, filters in enumerate(self.filters, start=1):
            if seen:
                features = keras.layers.MaxPooling2D(2, name=f"pool_{level}")(features)
            features = self._block(layers, f"down_{level}", features, filters)
            seen.append(features)
        features = layers.dropout("dropout", self.dropout)(seen.pop())
        for level in range(len(seen), 0, -1):
            features = keras.layers.UpSampling2D(2, name=f"double_{level}")(features)
            features = keras.layers.Concatenate(name=f"join_{level}")([features, seen.pop()])
            features = self._block(layers, f"up_{level}", features, self.filters[level - 1])
        scores = layers.convolution("scores", head.columns, 1, activation=head.activation)
        return keras.Model(inputs, scores(features), name=self.kind)

    def _block(self, layers: Layers, name: str, features: Any, filters: int) -> Any:
        import keras

        shortcut = features
        features = self._convolve(layers, f"{name}_first", features, filters, 3)
        features = keras.layers.ReLU(name=f"{name}_first_relu")(features)
        features = self._convolve(layers, f"{name}_second", features, filters, 3)
        if self.residual:
            if shortcut.shape[-1] != filters:
                shortcut = self._convolve(layers, f"{name}_shortcut", shortcut, filters, 1)
            features = keras.layers.Add(name=f"{name}_add")([features, shortcut])
        return keras.layers.ReLU(name=f"{name}_relu")(features)

    def _convolve(self, layers: Layers, name: str, features: Any, filters: int, size: int) -> Any:
        import keras

        features = layers.convolution(f"{name}_convolution", filters, size, padding="same", use_bias=False)(features)
        if self.normalisation == "group":
            groups = next(number for number in range(min(_GROUPS, filters), 0, -1) if filters % number == 0)
            return keras.layers.GroupNormalization(groups, name=f"{name}_norm")(features)
        return keras.layers.BatchNormalization(momentum=self.normalisation_momentum, name=f"{name}_norm")(features)
