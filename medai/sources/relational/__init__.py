"""Hospital databases that come as a folder of CSV tables, such as MIMIC: one engine, a mapping file a source.

mapping    which table says what, as data that a clinician can read (``mimic3.yaml``, ``mimic4.yaml``)
csv_text   one table's text, read in a stream and strictly: nothing is guessed, filled in or cut off silently
parquet_text  a table that came as Parquet, as the same text
folder     the tables' files in a folder
identity   the site's identifiers and the ids that take their place
stays      patients, admissions and ICU stays: who was where from when to when, and what was known only later
times      timestamps from text, a block at a time
bearings   what rows share: whose they are and in which admission, and what they are of
events     rows of an event table to canonical events
ordering   the total order of events, part by part
storing    sorted events to row groups
digest     what is noticed of the events while they pass
snapshot   all of it in order: stays, events sorted by subject, codes, identifiers
source     what a source's configuration has in common
"""

from medai.sources.relational.source import Database

__all__ = ["Database"]
