"""What may become of a file: rewritten, or set aside for one of these reasons."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from medai.records import Frozen

REASONS = {
    "burned_in_says_the_file": "its header says that text is burned into the picture",
    "kind_that_shows_text": "pictures of its kind usually show text: ultrasound, captured pages, photographs",
    "region_not_blanked": "a region rule describes it, and its pixels are of a kind that cannot be blanked",
    "text_in_the_pixels": "something like a line of letters is in the picture",
    "unused_bits": "bits beside the stored ones hold something, as an overlay does",
    "overlay_in_pixels": "its overlay lies in compressed pixels",
    "identifier_left": "what names the patient stands in a place that no rule covers",
    "not_dicom": "no DICOM file: the letters DICM are missing at byte 128",
    "damaged": "it cannot be parsed or decoded to its end",
    "too_deep": "sequences lie in each other deeper than in any picture",
    "no_picture": "it holds no pixels: a report, a directory, a plan, a waveform",
    "syntax_not_covered": "its pixels are compressed in a way that cannot be looked through, as a film",
    "codec_missing": "no codec for its pixels is installed, so that nobody can look for text",
    "same_instance": "another file is the same instance, and went first",
    "link": "a link to a folder, to elsewhere, or to nothing",
    "unreadable": "the file cannot be read",
    "no_file": "a pipe, a socket or a device",
    "too_large": "larger than a file may be",
    "decoder_crashed": "the process that read it ended",
    "decoder_timed_out": "reading it took too long",
    "decoder_out_of_memory": "reading it took more memory than one file may",
}
"""Reason → what it means."""


class SetAside(Exception):
    """A file cannot be rewritten; its only argument is the reason's name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Outcome(Frozen):
    """What became of one file; it names nobody.

    Attributes:
        reason: why it was set aside; None if it was rewritten.
        place: where it lies below the folder of files, of pseudonyms only.
        sha256: of the file that was written.
        named: whether it named its patient; otherwise its study stood for one.
        actions: ``what: by which authority`` → how often.
    """

    reason: str | None = None
    place: str | None = None
    sha256: str | None = None
    named: bool = True
    actions: Mapping[str, int] = Field(default={})
