"""De-identification: DICOM files and tables without who they are of, so that they still join.

    keys          the site's secret; pseudonyms, UIDs and shifts of dates that are derived from it
    attributes    what becomes of each DICOM attribute (PS3.15 Annex E, and what it leaves open)
    header        a new data set by these rules
    codestreams   compressed pixels without comments
    pixels        pixels without what lies beside them
    burned_in     text in the picture: by header, and by a look
    pictures      one file
    folder        a folder of files
    columns       what the columns of a table hold
    rows          one table

The profile is 113100 (basic) with 113107 (modified dates) and 113108 (patient characteristics). Pixels are never
cleaned: who may show text is set aside, with the reason. Faces that could be rebuilt from slices of a head are not
looked for.
"""

from medai.deidentification.folder import rewrite_folder
from medai.deidentification.keys import Key, kept_key, read_key

__all__ = ["Key", "kept_key", "read_key", "rewrite_folder"]
