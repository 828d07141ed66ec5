"""Reporting: a run on one page, with its figures."""

from medai.reporting.content import Content
from medai.reporting.curves import draw
from medai.reporting.page import write_page

__all__ = ["Content", "draw", "write_page"]
