"""Records: saved append-only, found by name and commit or by content, listed and counted.

A row stands for one pair at one place: the pair's digests, the adapter's repository and folder, and
the base's repository. The same content in another repository has a row of its own, since what is
said of a place (other adapters beside it, whether its base is the declared one) differs; a further
commit of the same content at the same place has not.
"""

from registry.db.records.bases import BasePage, BaseSummary, find_base, list_bases
from registry.db.records.choices import count_choices
from registry.db.records.finding import (
    StoredRecord,
    find_pair,
    find_record,
    pair_records,
    record_history,
)
from registry.db.records.fresh import Found, find_known, save_new
from registry.db.records.listing import Page, RecordFilter, Sort, list_records
from registry.db.records.places import at_commits
from registry.db.records.saving import save_record

__all__ = [
    "BasePage",
    "BaseSummary",
    "Found",
    "Page",
    "RecordFilter",
    "Sort",
    "StoredRecord",
    "at_commits",
    "count_choices",
    "find_base",
    "find_known",
    "find_pair",
    "find_record",
    "list_bases",
    "list_records",
    "pair_records",
    "record_history",
    "save_new",
    "save_record",
]
