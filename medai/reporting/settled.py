"""What a reader settled by a rule of its own, in sentences: what was met, and what was done with it."""

from __future__ import annotations

from medai.reporting.words import spaced

OTHER_FILE = "file_differs_from_manifest"
"""The one reason that is a warning: the data may not be the publisher's."""

_ONCE = {
    # files
    OTHER_FILE: "A file is not the one that its publisher's list names: it was altered, damaged or exchanged since. "
    "It was read as it is; compare it with the publisher's before the figures are believed.",
    "file_missing_beside_manifest": "The publisher's list names a file that is not there. The others were read.",
    "file_not_in_manifest": "The publisher's list does not name the file. It was read all the same.",
    "ignored_file": "A file of another kind than the source's; it was not read.",
    "ignored_array": "An array that the format does not know; it was not read.",
    # pictures
    "twin_in_another_role": "The same picture stands in another part of the publisher's split, too. The copy in train "
    "is marked, then that in validation, for the rules to judge.",
    "copy_in_same_role": "The same picture stands earlier in the same part; marked for the rules to judge.",
    "copy_of_another_subject": "The same picture stands earlier under another patient; marked for the rules to judge.",
    "label_conflict": "The same picture, or the same prediction, has two labels, and nobody can say which is right. A "
    "picture is marked for the rules to judge; such a prediction has no label.",
    "not_a_picture": "The file's content is no PNG or JPEG, whatever its name says; it was not read.",
    "unreadable_picture": "The file is cut short or damaged; it could not be decoded.",
    "decompression_bomb": "The file claims to unfold to more pixels than any picture of its kind; it was not decoded.",
    "several_frames": "The file holds several pictures, and nobody can say which is meant; it was not read.",
    "brighter_than_white": "Values lie above what the picture's own depth allows; it was not read.",
    "decoder_crashed": "The file ended the process that decoded it, twice; that process was all that it could harm.",
    "decoder_timed_out": "Decoding the file came to no end in the time that is given to one file, twice.",
    "decoder_out_of_memory": "Decoding the file took more memory than is given to one file, twice.",
    "unknown_subject": "The file's name does not say whose picture it is; marked for the rules to judge.",
    "subjects_straddling_publisher_roles": "A subject stands in several parts of the publisher's split.",
    # stays
    "same_outcomes_twice": "The table of outcomes is there twice, equal in every byte; one was read.",
    "extra_outcome_column": "A column of the outcomes that the format does not know; it was not read.",
    "orphan_outcome": "An outcome of a stay that has no file; it was left out.",
    "stay_without_outcome": "No outcome is given for the stay; it has no label.",
    "unreadable_outcome": "The outcome cannot be read; the stay has no label.",
    "same_stay_twice": "The same file is there twice; one was read.",
    "same_stay_other_id": "All readings of a stay stand under another identifier once more. The plainest one is kept.",
    "header_by_name": "The columns stand in another order, or written otherwise; they were read by name.",
    "impossible_time": "The time cannot be read, so the reading has no place; it was left out.",
    "unnamed_variable": "The reading does not say what was measured; it was left out.",
    "coded_missing": "The publisher's code for a missing value; it is no reading.",
    "age_over_89": "Ages over 89 are shifted or veiled by the publisher to protect the person; they are read as 90.",
    "stay_without_series": "Nothing was measured during the stay. It is kept; a cohort may leave it out.",
    "stay_without_diagnoses": "No diagnosis is recorded for the stay. It is kept.",
    # MEDS
    "no_dataset_description": "The data set does not describe itself; it was read as MEDS 0.4 says.",
    "other_meds_version": "The data set says that it follows another version than MEDS 0.4; it was read as 0.4 says.",
    "no_code_descriptions": "The data set's metadata name its codes and do not describe them.",
    "no_label_values": "The label files have no values: they say when to predict, and not what came.",
    "no_subject_splits": "The data set has no list of splits; no subject has a side that its publisher gave.",
    "split_of_unknown_subject": "The list of splits names a subject that has no events.",
    "split_without_subject": "A row of the list of splits lacks its subject or its split; it was left out.",
    "subject_without_split": "The list of splits does not name the subject; it has no side that its publisher gave.",
    "subject_in_several_places": "A subject's rows do not stand together in their shard; they were sorted.",
    "column_of_another_type": "A further column is named as one that is read and has another type; it was passed over.",
    "shard_of_other_columns": "The shard does not have the columns of the first one; what it lacks is not recorded.",
    "shard_without_rows": "The shard has no row.",
    "impossible_known_time": "When the row was known cannot be; the stated delay is assumed.",
    "event_before_birth": "The event lies more than a day before its subject's birth; it is kept.",
    "event_after_death": "The event lies more than a day after its subject's death; it is kept.",
    "label_at_impossible_time": "The time of a prediction cannot be; its label was left out.",
    "label_without_value": "A label without a value; it was left out.",
    "label_not_finite": "A label that is an infinite number or none; it was left out.",
    "subject_born_twice": "The subject has more than one birth; the earliest counts.",
    "subject_in_another_split": "The list of splits names a split that MEDS does not have; the subject has none.",
    "subject_out_of_order": "A subject's events are not in the order of time; they were sorted.",
    "number_not_finite": "The number is infinite; it counts as not recorded, and its text is kept.",
    "row_without_code": "The row does not say what it is about; it was left out.",
    "label_without_prediction": "A label without its subject or its time; it was left out.",
    "unknown_category": "A label of a category that the Problem does not name; it was left out.",
    "same_label_twice": "The same label stands there twice; one is kept.",
    "label_of_unknown_subject": "A label of a subject that has no events; it was left out.",
    # tables
    "table_without_checksums": "The file holds no checksums of its pages, so damage inside it cannot be seen.",
    "table_with_extra_columns": "The table has columns that its publisher does not name; they were not read.",
    "table_with_reordered_columns": "The table's columns stand in another order; they were read by name.",
    "diagnosis_of_unknown_version": "A diagnosis in neither ICD-9 nor ICD-10; it was left out.",
    "end_not_given": "An admission or a stay without its end; what is counted from it is not known.",
    "gender_not_given": "The patient's gender is not given; the patient is counted in no subgroup of it.",
    "unreadable_death_flag": "The flag of death says neither yes nor no; it counts as not recorded.",
    "unreadable_anchor_group": "The years that a patient's anchor stands for cannot be read; they are not known.",
    "impossible_date": "A date cannot be read; it counts as not recorded.",
    "row_without_key": "A row does not say whom or what it is about; it was left out.",
    "key_twice": "Two rows claim the same identifier. The first in a fixed order is kept.",
    "same_row_twice": "The same row stands there once more, equal in everything; one is kept.",
    "unit_of_another_quantity": "The unit is none that the quantity can have; the item's usual unit was assumed.",
}
_OF_A_TABLE = {
    "impossible_stored_time": "When the row was stored cannot be read; the table's usual delay is assumed.",
    "impossible_time": "When it happened cannot be read, so the row has no place; it was left out.",
    "unknown_mark": "The column that marks errors says neither yes nor no; the row is kept.",
    "no_rows": "The table has its header and no row; nothing is known of what it records.",
    "marked_as_error": "The hospital itself marked the row as an error; it was left out.",
    "row_without_subject": "The row does not say whom it is about; it was left out.",
    "row_without_item": "The row does not say what was measured; it was left out.",
}
"""Reason that may end in its table's name."""
FALLBACK = "The reader counted it and went on by a fixed rule, which its description states."


def sentence(reason: str) -> str:
    """What a reader met and did.

    >>> sentence("row_without_item_labevents")
    'The row does not say what was measured; it was left out.'
    >>> sentence("never_heard_of") == FALLBACK
    True
    """
    if reason in _ONCE:
        return _ONCE[reason]
    return next((told for start, told in _OF_A_TABLE.items() if f"{reason}_".startswith(f"{start}_")), FALLBACK)


def named(reason: str) -> str:
    """A reason as a heading; the one that is a warning says so.

    >>> named("key_twice"), named(OTHER_FILE)
    ('key twice', "a file is not the one its publisher's list names")
    """
    return "a file is not the one its publisher's list names" if reason == OTHER_FILE else spaced(reason)
