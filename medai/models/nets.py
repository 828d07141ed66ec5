"""What every net shares: the head that scores, the augmentation, and how named layers get their seeds.

A net's configuration builds a Keras model that takes the raw arrays by name and standardises them itself. Every layer
has an explicit name and every random draw an explicit seed, so that two builds give the same bytes, in one process or
in two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from medai.errors import MedaiError
from medai.records import Frozen

if TYPE_CHECKING:
    import keras


class Head(Frozen):
    """The scoring end of a net: a layer named ``scores`` of shape (samples, columns).

    Of a mask it has the shape (samples, height, width, columns).

    Attributes:
        kind: ``binary`` scores one column, the probability of the positive class; ``multiclass`` one probability a
            class, summing to 1 (softmax); ``multilabel`` one independent probability a finding; ``mask`` of each pixel
            the probability of the only finding, or one a class, summing to 1.
        columns: score columns.
    """

    kind: Literal["binary", "multiclass", "multilabel", "mask"]
    columns: int = Field(ge=1)

    @property
    def activation(self) -> str:
        """Keras' name of the function that makes probabilities."""
        return "softmax" if self.kind == "multiclass" or (self.kind == "mask" and self.columns > 1) else "sigmoid"


class Augmentation(Frozen):
    """Random changes of training pictures that keep their meaning; inference sees none of them.

    Attributes:
        shift: largest shift along each axis, as a fraction of the side.
        rotation: largest turn to either side, in degrees; of a volume, within the slices' plane.
        zoom: largest relative change of size, to either side.
        flip: ``horizontal`` mirrors half of the pictures left to right; only where anatomy allows: a chest has its
            heart on one side, and a mirrored one is another finding.
        contrast: largest relative change of contrast.
        brightness: largest change of level, in standard deviations of the training pixels.
        noise: largest standard deviation of normal noise, in those of the training pixels; each picture draws its own.
        fill: what comes in from outside: ``edge`` repeats the edge; ``constant`` is the training mean where pixels are
            standardised, else black.
    """

    shift: float = Field(default=0.0, ge=0, le=0.5)
    rotation: float = Field(default=0.0, ge=0, le=180)
    zoom: float = Field(default=0.0, ge=0, le=0.5)
    flip: Literal["horizontal"] | None = None
    contrast: float = Field(default=0.0, ge=0, lt=1)
    brightness: float = Field(default=0.0, ge=0, le=3)
    noise: float = Field(default=0.0, ge=0, le=3)
    fill: Literal["edge", "constant"] = "edge"


class Layers:
    """Makes Keras layers whose names are given and whose seeds follow from the net's seed and their name.

    Args:
        seed: the net's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def convolution(self, name: str, filters: int, size: int, **options: Any) -> Any:
        """A convolution over height and width with He's normal initialisation."""
        import keras

        start = keras.initializers.HeNormal(seed=self.seed_of(name))
        return keras.layers.Conv2D(filters, size, kernel_initializer=start, name=name, **options)

    def convolution_3d(self, name: str, filters: int, size: int, **options: Any) -> Any:
        """A convolution over depth, height and width with He's normal initialisation."""
        import keras

        start = keras.initializers.HeNormal(seed=self.seed_of(name))
        return keras.layers.Conv3D(filters, size, kernel_initializer=start, name=name, **options)

    def dense(self, name: str, units: int, activation: str | None) -> Any:
        """A dense layer with Glorot's uniform initialisation."""
        import keras

        start = keras.initializers.GlorotUniform(seed=self.seed_of(name))
        return keras.layers.Dense(units, activation=activation, kernel_initializer=start, name=name)

    def recurrent(self, name: str) -> dict[str, Any]:
        """Name and initialisers of a recurrent layer: Glorot's uniform for inputs, orthogonal for the state."""
        import keras

        return {
            "kernel_initializer": keras.initializers.GlorotUniform(seed=self.seed_of(f"{name}/kernel")),
            "recurrent_initializer": keras.initializers.Orthogonal(seed=self.seed_of(f"{name}/recurrent")),
            "seed": self.seed_of(name),  # of its own dropout: unused, yet its state is among the net's variables
            "name": name,
        }

    def dropout(self, name: str, rate: float) -> Callable[[Any], Any]:
        """A dropout layer; nothing at all when the rate is 0."""
        import keras

        if not rate:
            return lambda inputs: inputs
        layer: Callable[[Any], Any] = keras.layers.Dropout(rate, seed=self.seed_of(name), name=name)
        return layer

    def augment(self, augmentation: Augmentation | None, spread: float = 1.0) -> Callable[[Any], Any]:
        """The augmentation layer; nothing at all when there is none.

        Args:
            spread: standard deviation of the training pixels in the units that the layer takes; 1 of standardised ones.
        """
        from medai.models.augmenting import Augment

        if augmentation is None:
            return lambda inputs: inputs
        layer: Callable[[Any], Any] = Augment(
            **augmentation.model_dump(), spread=spread, seed=self.seed_of("augment"), name="augment"
        )
        return layer

    def scores(self, head: Head) -> Any:
        """The head."""
        return self.dense("scores", head.columns, head.activation)

    def seed_of(self, name: str) -> int:
        """The seed of the layer of this name."""
        from medai.models.layers import seed_of

        return seed_of(self.seed, name)


def inputs_of(shapes: dict[str, tuple[int, ...]], types: dict[str, str], net: str) -> dict[str, keras.KerasTensor]:
    """Keras inputs for the named arrays.

    Args:
        shapes: array → shape of one sample.
        types: array → dtype, for every array that the net knows.
        net: the net's kind, for the message.

    Raises:
        MedaiError: the preprocessing made arrays that this net does not read (a defect of ours: the Problem is
            checked for it before any work).
    """
    import keras

    if not shapes.keys() <= types.keys():
        raise MedaiError(
            f"the net {net} cannot read these arrays",
            expected="among " + ", ".join(types),
            received=", ".join(sorted(shapes)),
            action="choose an encoder that reads what the preprocessing makes",
        )
    return {name: keras.Input(shape, dtype=types[name], name=name) for name, shape in shapes.items()}
