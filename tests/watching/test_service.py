"""One command watches the Hub: what is told of, what is hidden, and what nobody told of."""

import time
from datetime import UTC, datetime

from registry.db.records import RecordFilter, find_record, list_records
from registry.domain.record import Evidence
from tests.cli.publishing import adapter_files, publish_base
from tests.data.adapters import Lora
from tests.hub import LocalHub
from tests.watching.conftest import event, push
from tests.watching.service import opened, send, served

PATIENCE = 60.0


def await_that(happened):
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def test_told_looked_up_and_swept_adapters_are_all_recorded(tmp_path):
    url = f"sqlite:///{tmp_path / 'loadplan.db'}"
    with LocalHub() as hub:
        publish_base(hub)
        now = datetime.now(UTC)
        shas = {
            name: hub.add_commit(name, adapter_files(Lora(alpha=alpha)), date=now)
            for alpha, name in enumerate(("acme/told", "acme/looked-up", "acme/lost"), 2)
        }
        with served(url, hub, tmp_path) as address, opened(url) as database:
            assert send(address, push("acme/told", shas["acme/told"])).status_code == 202
            untagged = push("acme/looked-up", shas["acme/looked-up"], tags=())
            assert send(address, untagged).status_code == 202

            def evidence(name):
                with database.reading() as connection:
                    found = find_record(connection, repo_id=name)
                return None if found is None else found.record.evidence

            await_that(lambda: all(evidence(name) is Evidence.REHEARSED for name in shas))
            private = event("acme/told", scope="repo.config", updatedConfig={"private": True})
            assert send(address, private).status_code == 202
            with database.reading() as connection:
                page = list_records(connection, RecordFilter())
            names = {each.record.adapter.repo_id for each in page.records}
            assert names == {"acme/looked-up", "acme/lost"}
    said = (tmp_path / "serve.log").read_text()
    assert '"level": "error"' not in said
    assert "told-to-the-hub" not in said
    # Names stay out of the log: which of them is private may change at any time.
    assert "acme/" not in said
