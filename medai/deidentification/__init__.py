"""De-identification: DICOM files and tables without who they are of, so that they still join.

    keys          the site's secret; pseudonyms, UIDs and shifts of dates that are derived from it
    attributes    what becomes of each DICOM attribute (PS3.15 Annex E, and what it leaves open)
    header        a new data set by these rules
    codestreams   compressed pixels without comments
    pixels        pixels without what lies beside them
    burned_in     text in the picture: by header, and by a look
    pictures      one file
    folder        a folder of files
    regions       where a site's devices write into pictures
    columns       what the columns of a table hold
    rows          one table

The profile is 113100 (basic) with 113107 (modified dates) and 113108 (patient characteristics). Who may show text is
set aside, with the reason, unless the site vouches for where its devices write: there pixels are cleaned (113101).
Faces that could be rebuilt from slices of a head are not looked for.
"""

from medai.deidentification.folder import rewrite_folder
from medai.deidentification.keys import Key, kept_key, read_key

__all__ = ["Key", "kept_key", "read_key", "rewrite_folder"]
