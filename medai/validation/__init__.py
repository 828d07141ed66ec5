"""Validation: rules live in a suite, Great Expectations judges, Polars measures.

One rule stands in one place, the suite. A translator makes its Polars predicate; one streaming pass over a table
counts what each rule asks for and names the rows to set aside; Great Expectations' own expectation objects give the
verdict from those counts. Great Expectations and Polars are imported only when a snapshot is truly judged.

    suites        the format, checked whole before any data is read
    patterns      regular expressions that both engines read alike
    conditions    the rows that a rule speaks of
    translation   a rule in Polars
    measuring     one pass over a table
    judging       Great Expectations
    stage         snapshot in, quality report out
"""

from medai.validation.stage import TOO_MANY, VERSION, refuse_if_failed, set_aside_rows, validate
from medai.validation.suites import Rule, Suite, catalogue_suite, load_suite

__all__ = [
    "TOO_MANY",
    "VERSION",
    "Rule",
    "Suite",
    "catalogue_suite",
    "load_suite",
    "refuse_if_failed",
    "set_aside_rows",
    "validate",
]
