"""A sweep goes on where it stopped."""

from __future__ import annotations

from dataclasses import replace

from registry.db import sweeps
from registry.db.sweeps import Sweep
from tests.db.examples import at


def test_a_sweep_is_kept_by_name(database):
    sweep = Sweep("all", None, {"listed": 0}, at(0), None, at(0))
    later = replace(sweep, cursor="page-2", progress={"listed": 100}, updated_at=at(1))
    for one in (sweep, later):
        database.write(lambda session, one=one: sweeps.save_sweep(session, one))
    with database.reading() as connection:
        assert sweeps.load_sweep(connection, "all") == later
        assert sweeps.load_sweep(connection, "by-author") is None
