"""Reporting: a run on one page, with its figures and examples."""

from medai.reporting.content import Content, Report
from medai.reporting.curves import draw
from medai.reporting.examples import illustrate
from medai.reporting.page import write_page

__all__ = ["Content", "Report", "draw", "illustrate", "write_page"]
