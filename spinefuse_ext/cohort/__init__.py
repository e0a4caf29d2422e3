"""From a table of cases to registered pairs, a datalist and one page that shows them, worst first."""

from spinefuse_ext.cohort.names import folder_names
from spinefuse_ext.cohort.table import CohortCase, read_cohort

__all__ = ["CohortCase", "folder_names", "read_cohort"]
