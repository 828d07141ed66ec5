"""The nets a Problem's input may be encoded by, as configurations; importing them imports neither Keras nor TensorFlow.

To add a net: one class with a ``kind`` and a ``build`` in the module of its meaning, and its name in ``Net``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medai.models.convolutional import ResidualCNN, SmallCNN
from medai.models.nets import Augmentation, Head
from medai.models.recurrent import GRU, LSTM
from medai.models.unet import UNet
from medai.models.volumetric import ResidualCNN3D

Net = Annotated[ResidualCNN | SmallCNN | UNet | ResidualCNN3D | GRU | LSTM, Field(discriminator="kind")]
"""One of the nets, told apart by its ``kind``."""

__all__ = ["GRU", "LSTM", "Augmentation", "Head", "Net", "ResidualCNN", "ResidualCNN3D", "SmallCNN", "UNet"]
