"""Damage of a file, told apart from a defect of medai's own: both may raise the same exceptions.

Damage is what a library raises while it parses bytes that are not as they should be. What a line of medai's cannot take
of them it says by an exception of its own; whatever else a line of medai's raises is a defect, and goes up as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

_OURS = __name__.partition(".")[0]


def is_damage(error: BaseException) -> bool:
    """Whether a library complains of the bytes that it parses, and no line of medai's own is wrong.

    Its kind tells nothing: pydicom raises what Python has (``AttributeError`` where a value is none, and
    ``NotImplementedError`` at a representation that the standard does not know) and exceptions of its own, of no common
    kind. A builtin such as ``int`` has no line of its own: what it raises is its caller's. What the machine lacks,
    memory, a disk or a module, is of neither.
    """
    if isinstance(error, MemoryError | ImportError) or (isinstance(error, OSError) and error.errno is not None):
        return False
    theirs = [not ours for ours in _lines_of(error.__traceback__)]
    # A library's recursion may find its end in a line of medai's that it calls.
    return any(theirs) if isinstance(error, RecursionError) else bool(theirs and theirs[-1])


def _lines_of(traceback: TracebackType | None) -> Iterator[bool]:
    """Of each line that an exception came through, outermost first, whether it is medai's own."""
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__"))
        yield module == _OURS or module.startswith(f"{_OURS}.")
        traceback = traceback.tb_next


@contextmanager
def parsing(damaged: Exception, *, too_deep: Exception | None = None) -> Iterator[None]:
    """A library at work on untrusted bytes; its complaint becomes ``damaged``, and a defect stays what it is.

    Args:
        too_deep: what stands for a recursion without end, where that is told apart.
    """
    try:
        yield
    except Exception as error:
        if not is_damage(error):
            raise
        raise (too_deep if too_deep and isinstance(error, RecursionError) else damaged) from None
