"""From a table of cases to registered pairs, a datalist and one page that shows them, worst first."""

from spinefuse_ext.cohort.fingerprint import fingerprint
from spinefuse_ext.cohort.limits import Check, PairLimits
from spinefuse_ext.cohort.measures import carried_back, pair_edges
from spinefuse_ext.cohort.names import folder_names
from spinefuse_ext.cohort.outcome import Outcome, Verdict, judge, worst_first
from spinefuse_ext.cohort.pool import ProcessLostError, run_all
from spinefuse_ext.cohort.prepare import Prepared, prepare_cohort
from spinefuse_ext.cohort.table import CohortCase, read_cohort

__all__ = [
    "Check",
    "CohortCase",
    "Outcome",
    "PairLimits",
    "Prepared",
    "ProcessLostError",
    "Verdict",
    "carried_back",
    "fingerprint",
    "folder_names",
    "judge",
    "pair_edges",
    "prepare_cohort",
    "read_cohort",
    "run_all",
    "worst_first",
]
