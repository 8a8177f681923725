"""Scan: read an adapter and its base, save the facts, plan, save the record.

`reading` talks to the Hub and never to the database's writer; `saving` decides and writes in one
transaction per batch, in which nothing waits for a network; `scanner` is the run of both.
"""

from registry.scanning.reading import MAX_SUBFOLDERS, Match, Reading
from registry.scanning.saving import Scanned
from registry.scanning.scanner import Scanner, scan, scan_many

__all__ = ["MAX_SUBFOLDERS", "Match", "Reading", "Scanned", "Scanner", "scan", "scan_many"]
