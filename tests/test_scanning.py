"""Scans against the local Hub: what is read, what is recorded, what is read only once."""

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from migrations.upgrade import upgrade
from registry.db import checkpoints, records
from registry.db.repositories import ref_history
from registry.db.session import open_database
from registry.domain.record import Evidence, Status
from registry.domain.refs import Reference, Source, parse_reference
from registry.hub import Patience, open_reader
from registry.scanning import MAX_SUBFOLDERS, Scanner, scan
from tests.cli.publishing import adapter_files, grown, publish_adapter, publish_base, tiny_base
from tests.data.adapters import Lora
from tests.data.bases import base_repository
from tests.data.weights import write_files
from tests.hub import Answer, LocalHub


@pytest.fixture(scope="module")
def hub():
    with LocalHub() as local_hub:
        publish_base(local_hub)
        yield local_hub


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path}/registry.db"
    upgrade(url)
    opened = open_database(url)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def sound_hub(hub):
    yield
    hub.faults.clear()


def run(hub, database, work, **options):
    """`work(scanner)` with a reader of the local Hub that does not wait for it to recover."""

    async def main():
        patience = Patience(total=2, attempts=1)
        async with open_reader(hub.url, options.pop("token", None), patience=patience) as reader:
            return await work(Scanner(reader, database))

    return asyncio.run(main())


def scan_one(hub, database, text, base=None, **options):
    reference = parse_reference(text, allow_local=True)
    named = None if base is None else parse_reference(base, allow_local=True)
    return run(hub, database, lambda scanner: scanner.scan(reference, base=named), **options)


def scan_all(hub, database, *texts, **options):
    references = [parse_reference(text) for text in texts]

    async def work(scanner):
        return [scanned async for scanned in scanner.scan_many(references)]

    return run(hub, database, work, **options)


def codes(record):
    return {issue.code for issue in record.issues}


def recorded(database, repo_id, **more):
    with database.reading() as connection:
        return records.find_record(connection, repo_id=repo_id, **more)


def test_a_scan_records_facts_plan_and_both_commits(hub, database):
    sha = publish_adapter(hub, "acme/first")
    scanned = scan_one(hub, database, "acme/first")
    record = scanned.record
    assert (record.status, record.evidence) == (Status.PLANNED, Evidence.STATIC)
    assert (record.adapter.commit_sha, record.adapter.revision) == (sha, "main")
    assert record.base.repo_id == "tiny/llama"
    assert "base-unpinned" in codes(record)
    assert recorded(database, "acme/first").record == record
    with database.reading() as connection:
        facts = checkpoints.load_adapter(connection, record.adapter.digest)
        assert facts.weights.layout == scanned.adapter.weights.layout
        history = ref_history(connection, Source.HUB, "acme/first")
    assert [commit for commit, _ in history] == [sha]


def test_the_short_form_gives_the_record_alone(hub, database):
    publish_adapter(hub, "acme/short")

    async def main():
        async with open_reader(hub.url) as reader:
            return await scan(reader, database, Reference("acme/short"))

    assert asyncio.run(main()).status is Status.PLANNED


def test_equal_content_at_another_commit_is_the_same_record_at_that_commit(hub, database):
    publish_adapter(hub, "acme/readme")
    first = scan_one(hub, database, "acme/readme").record
    sha = hub.add_commit("acme/readme", {"README.md": "# new words"})
    second = scan_one(hub, database, "acme/readme").record
    assert second.adapter.digest == first.adapter.digest
    assert second.adapter.commit_sha == sha != first.adapter.commit_sha
    assert second.plan.digest == first.plan.digest
    assert sha in {getattr(step, "revision", None) for step in second.plan.steps}


def test_a_recorded_rehearsal_is_kept_when_the_same_content_is_scanned_again(hub, database):
    publish_adapter(hub, "acme/kept")
    first = scan_one(hub, database, "acme/kept").record
    rehearsed = replace(first, status=Status.REHEARSED, evidence=Evidence.REHEARSED)
    with database.transaction() as session:
        records.save_record(session, rehearsed, scanned_at=datetime.now(UTC))
    again = scan_one(hub, database, "acme/kept").record
    elsewhere = publish_adapter(hub, "acme/copy") and scan_one(hub, database, "acme/copy").record
    assert (again.status, elsewhere.status) == (Status.REHEARSED, Status.REHEARSED)
    assert elsewhere.adapter.repo_id == "acme/copy"


def test_a_branch_that_moved_to_other_content_has_a_new_record_and_keeps_the_old(hub, database):
    old_sha = publish_adapter(hub, "acme/moved")
    old = scan_one(hub, database, "acme/moved").record
    publish_adapter(hub, "acme/moved", Lora(rank=4))
    new = scan_one(hub, database, "acme/moved").record
    assert new.adapter.digest != old.adapter.digest
    assert recorded(database, "acme/moved").record.adapter.digest == new.adapter.digest
    # Asked for by its commit, the earlier content is what it was.
    by_commit = scan_one(hub, database, f"acme/moved@{old_sha}").record
    assert (by_commit.status, by_commit.adapter.digest) == (Status.PLANNED, old.adapter.digest)


def test_a_base_is_read_once_for_many_adapters(hub, database):
    names = [f"many/a{number}" for number in range(12)]
    for number, name in enumerate(names):
        publish_adapter(hub, name, Lora(rank=2 + number))
    hub.log.reset()
    found = scan_all(hub, database, *names)
    assert {scanned.record.status for scanned in found} == {Status.PLANNED}
    headers = [entry for entry in hub.log.entries if "tiny/llama/resolve" in entry.path]
    assert len([e for e in headers if e.path.endswith("model.safetensors")]) == 1


def test_a_recorded_base_is_not_read_again_by_a_later_run(hub, database):
    publish_adapter(hub, "acme/one")
    publish_adapter(hub, "acme/two", Lora(rank=3))
    scan_one(hub, database, "acme/one")
    hub.log.reset()
    scan_one(hub, database, "acme/two")
    assert not [entry for entry in hub.log.entries if "tiny/llama/resolve" in entry.path]


def test_a_failing_hub_never_overwrites_what_is_known(hub, database):
    publish_adapter(hub, "acme/known")
    first = scan_one(hub, database, "acme/known").record
    hub.inject(Answer(503), path="acme/")
    again = scan_one(hub, database, "acme/known")
    new = scan_one(hub, database, "acme/unknown")
    assert again.record == first
    assert again.failure is not None
    assert (new.record.status, new.failure) == (Status.FAILED, None)
    assert recorded(database, "acme/known").record == first


def test_a_base_that_fails_leaves_the_adapters_facts_and_a_failed_record(hub, database):
    hub.add_commit("tiny/failing", base_repository(tiny_base("tiny/failing")))
    publish_adapter(hub, "acme/on-failing", config={"base_model_name_or_path": "tiny/failing"})
    hub.inject(Answer(503), path="tiny/failing")
    scanned = scan_one(hub, database, "acme/on-failing")
    hub.faults.clear()
    assert scanned.record.status is Status.FAILED
    assert scanned.record.facts.rank == 8
    assert scan_one(hub, database, "acme/on-failing").record.status is Status.PLANNED


def test_a_branch_that_moved_while_its_base_fails_is_stale(hub, database):
    hub.add_commit("tiny/flaky", base_repository(tiny_base("tiny/flaky")))
    declared = {"base_model_name_or_path": "tiny/flaky"}
    publish_adapter(hub, "acme/on-flaky", config=declared)
    old = scan_one(hub, database, "acme/on-flaky").record
    sha = publish_adapter(hub, "acme/on-flaky", Lora(rank=4), config=declared)
    hub.inject(Answer(503), path="tiny/flaky")
    scanned = scan_one(hub, database, "acme/on-flaky")
    assert (scanned.record.status, scanned.record.adapter) == (Status.STALE, old.adapter)
    assert scanned.failure is not None
    assert recorded(database, "acme/on-flaky").record.status is Status.STALE
    with database.reading() as connection:
        assert ref_history(connection, Source.HUB, "acme/on-flaky")[0][0] == sha
    hub.faults.clear()
    assert scan_one(hub, database, "acme/on-flaky").record.status is Status.PLANNED


def test_a_repository_of_subfolders_is_recorded_as_each_of_them(hub, database):
    files = {
        f"{folder}/{name}": content
        for folder in ("step-1", "step-2")
        for name, content in adapter_files().items()
    }
    hub.add_commit("acme/folders", files)
    single = scan_one(hub, database, "acme/folders").record
    assert single.status is Status.UNSUPPORTED
    assert single.facts.other_adapters == ("step-1", "step-2")
    many = scan_all(hub, database, "acme/folders")
    assert {scanned.record.adapter.subfolder for scanned in many} == {"step-1", "step-2"}
    assert {scanned.record.status for scanned in many} == {Status.PLANNED}


def test_of_very_many_subfolders_the_first_are_recorded(hub, database):
    files = adapter_files()
    hub.add_commit(
        "acme/very-many",
        {f"s{n:03}/{name}": content for n in range(40) for name, content in files.items()},
    )
    assert len(scan_all(hub, database, "acme/very-many")) == MAX_SUBFOLDERS


def test_an_adapter_at_the_root_is_that_adapter_and_names_the_others(hub, database):
    files = adapter_files()
    nested = {f"last/{name}": content for name, content in files.items()}
    hub.add_commit("acme/both", {**files, **nested})
    (scanned,) = scan_all(hub, database, "acme/both")
    assert scanned.record.adapter.subfolder is None
    assert scanned.record.facts.other_adapters == ("last",)
    named = scan_one(hub, database, "acme/both:last").record
    assert (named.status, named.adapter.subfolder) == (Status.PLANNED, "last")


def test_another_base_makes_its_own_record_beside_the_declared_one(hub, database):
    publish_adapter(hub, "acme/pairs")
    hub.add_commit("tiny/other", base_repository(tiny_base("tiny/other"), more={"x": "y"}))
    hub.add_commit("tiny/wide", base_repository(tiny_base("tiny/wide"), tokenizer={}))
    declared = scan_one(hub, database, "acme/pairs").record
    other = scan_one(hub, database, "acme/pairs", base="tiny/wide").record
    assert "base-differs-from-declared" in codes(other)
    assert "base-differs-from-declared" not in codes(declared)
    assert recorded(database, "acme/pairs").record.base.repo_id == "tiny/llama"
    asked = recorded(database, "acme/pairs", base_repo_id="tiny/wide")
    assert asked.record.base.repo_id == "tiny/wide"


def test_an_old_name_of_the_declared_base_is_no_other_base(hub, database):
    hub.redirect("old/llama", "tiny/llama")
    publish_adapter(hub, "acme/old-name", config={"base_model_name_or_path": "old/llama"})
    record = scan_one(hub, database, "acme/old-name", base="tiny/llama").record
    assert "base-differs-from-declared" not in codes(record)
    record = scan_one(hub, database, "acme/old-name").record
    assert record.base.repo_id == "tiny/llama"
    assert record.facts.declared_base == "old/llama"


def test_a_local_folder_is_scanned_like_a_repository(hub, database, tmp_path):
    folder = write_files(adapter_files(), tmp_path / "adapter")
    base = write_files(base_repository(tiny_base()), tmp_path / "base")
    scanned = scan_one(hub, database, str(folder), base=str(base))
    record = scanned.record
    assert (record.status, record.adapter.source) == (Status.PLANNED, Source.LOCAL)
    assert record.adapter.commit_sha.startswith("sha256:")
    on_hub = scan_one(hub, database, str(folder)).record
    assert (on_hub.base.source, on_hub.status) == (Source.HUB, Status.PLANNED)


def test_the_canonical_case_resizes_to_the_files_rows(hub, database):
    hub.add_commit("acme/grown", grown(325))
    record = scan_one(hub, database, "acme/grown").record
    assert record.status is Status.PLANNED
    assert [step.rows for step in record.plan.steps if hasattr(step, "rows")] == [325]
    assert "vocabulary-grown" in codes(record)
    assert record.naive_load.outcome == "raises"


def test_a_pattern_is_matched_in_a_child_and_decides_the_targets(hub, database):
    publish_adapter(hub, "acme/pattern", config={"target_modules": r".*self_attn\.(q|v)_proj"})
    assert scan_one(hub, database, "acme/pattern").record.status is Status.PLANNED
    publish_adapter(hub, "acme/no-match", config={"target_modules": r".*nothing"})
    assert "targets-not-found" in codes(scan_one(hub, database, "acme/no-match").record)


def test_two_runs_on_one_database_lose_nothing(hub, database):
    names = [f"race/a{number}" for number in range(16)]
    for number, name in enumerate(names):
        publish_adapter(hub, name, Lora(rank=2 + number))
    failures = []

    def work():
        try:
            assert len(scan_all(hub, database, *names)) == len(names)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.reading() as connection:
        page = records.list_records(connection, records.RecordFilter(), limit=100)
    assert sorted(stored.record.adapter.repo_id for stored in page.records) == sorted(names)


def test_a_listing_that_breaks_off_is_raised_and_ends_the_run(hub, database):
    async def listed():
        yield Reference("acme/first")
        raise RuntimeError("the listing broke off")

    async def work(scanner):
        return [scanned async for scanned in scanner.scan_many(listed())]

    publish_adapter(hub, "acme/first")
    with pytest.raises(ExceptionGroup):
        run(hub, database, work)


def test_a_run_may_be_left_in_the_middle(hub, database):
    async def work(scanner):
        async for scanned in scanner.scan_many([Reference("acme/first")] * 200):
            return scanned.record.status

    publish_adapter(hub, "acme/first")
    assert run(hub, database, work) is Status.PLANNED
