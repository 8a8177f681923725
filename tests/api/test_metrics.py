"""Metrics: what is counted, and that no name is among the labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prometheus_client.parser import text_string_to_metric_families

from registry.db import workers
from registry.db.operations import ensure_operation
from registry.db.session import open_database
from registry.db.workers import HubQuota, Worker
from tests.api.test_reading import recorded  # noqa: F401


def families(client) -> dict:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def samples(family) -> dict:
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def test_records_requests_and_the_database_are_counted(client, recorded):  # noqa: F811
    client.get("/v1/adapters/acme/chat-lora")
    client.get("/v1/adapters/acme/absent")
    found = families(client)
    assert samples(found["loadplan_database_up"]) == {(): 1.0}
    assert samples(found["loadplan_records"])[("blocked",)] == 1.0
    assert sum(samples(found["loadplan_records"]).values()) == 7.0
    counted = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for sample in found["loadplan_http_requests"].samples
        if sample.name.endswith("_total")
    }
    assert counted[("/v1/adapters/{namespace}/{name}", "200")] == 1.0
    assert counted[("/v1/adapters/{namespace}/{name}", "404")] == 1.0
    assert "acme" not in client.get("/metrics").text


def test_open_work_is_counted_with_its_age(client, database):
    assert samples(families(client)["loadplan_jobs"]) == {}
    with database.transaction() as session:
        ensure_operation(session, kind="scan", dedupe_key="scan:acme/x", request={}, priority=1)
    found = families(client)
    assert samples(found["loadplan_jobs"]) == {("scan", "queued"): 1.0}
    assert 0 <= samples(found["loadplan_oldest_job_age_seconds"])[("scan",)] < 60
    assert samples(families(client)["loadplan_jobs_recovered"]) == {(): 0.0}


def beat(database, name, *quotas):
    worker = Worker(name, "host", ["scan"], "cpu", {}, hub_quota=quotas)
    database.write(lambda session: workers.beat(session, worker))


def test_the_quota_that_the_hub_leaves_is_told_by_bucket_and_unknown_has_no_sample(
    client, database
):
    assert samples(families(client)["loadplan_hub_quota_remaining"]) == {}
    assert "unknown: no worker was told lately" in client.get("/status").text
    soon = datetime.now(UTC) + timedelta(minutes=4)
    over = datetime.now(UTC) - timedelta(seconds=1)
    beat(database, "one", HubQuota("api", 470, 500, soon), HubQuota("pages", 3, 100, over))
    beat(database, "two", HubQuota("api", 481, 500, soon), HubQuota("resolvers", 0, None, soon))
    found = samples(families(client)["loadplan_hub_quota_remaining"])
    assert found == {("api",): 470.0, ("resolvers",): 0.0}
    page = client.get("/status").text
    assert "api: 470 of 500 left until" in page
    assert "resolvers: 0 left until" in page
    assert "pages" not in page.partition("Hub quota")[2].partition("</dd>")[0]


def test_what_is_unknown_is_left_out_and_not_zero(client):
    held = next(
        collector
        for collector in client.app.state.metrics._collector_to_names
        if hasattr(collector, "_database")
    )
    held._database = open_database("postgresql+psycopg://nobody@127.0.0.1:9/none")
    found = families(client)
    assert samples(found["loadplan_database_up"]) == {(): 0.0}
    assert "loadplan_records" not in found
