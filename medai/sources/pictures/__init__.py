"""What the readers of pictures share, whatever their layout.

decoding    PNG and JPEG bytes to one picture of the working size
workers     a function over tasks in processes of their own: a decoder that fails costs one file
nursery     the process that those workers are born in
filling     a snapshot's ``pixels.npy``, each row written by the worker that decoded it
sameness    grey levels, hashes of content, and which pictures are the same
tables      rows, labels and identifiers as canonical tables
"""

from medai.sources.pictures.sameness import (
    STANDING,
    conflicts_of,
    content_hash,
    copies_of,
    grey_levels,
    shape_mark,
    twins_of,
)

__all__ = [
    "STANDING",
    "conflicts_of",
    "content_hash",
    "copies_of",
    "grey_levels",
    "shape_mark",
    "twins_of",
]
