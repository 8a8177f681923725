"""What the commands print, where, and how they end."""

import ast
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry.domain.record import Status
from tests.cli.publishing import adapter_files, grown, publish_adapter, publish_base
from tests.data.adapters import Lora
from tests.data.weights import write_files
from tests.hub import Delay

COMMANDS = ("check", "plan", "tensors", "list", "scan", "crawl", "serve", "migrate", "doctor")
ESCAPE = "\x1b"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def published(hub):
    publish_base(hub)
    hub.add_commit("acme/grown", grown())
    publish_adapter(hub, "acme/plain")
    publish_adapter(hub, "acme/alien", Lora(rank=4), declared_base="gone/base")


# --- help and usage ---


def test_help_names_every_command(loadplan):
    done = loadplan.start("--help")
    assert done.exit_code == 0
    assert all(f"\n  {command}" in done.out for command in COMMANDS)
    assert "Exit codes" in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_within_80_columns(loadplan, command):
    done = loadplan(command, "--help")
    assert done.exit_code == 0
    assert max(len(line) for line in done.out.splitlines()) <= 80


def test_without_a_command_the_help_is_shown_as_a_usage_error(loadplan):
    assert loadplan().exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("check",),
        ("check", "acme/plain", "--require", "perfect"),
        ("plan", "acme/plain", "--format", "yaml"),
        ("list", "--status", "wonderful"),
        ("serve", "--port", "99999"),
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(loadplan, arguments):
    done = loadplan(*arguments)
    assert (done.exit_code, done.out) == (2, "")
    assert done.err


# --- check ---


def test_check_prints_status_plan_and_reasons_for_people(loadplan):
    done = loadplan("check", "acme/grown", "--require", "planned")
    assert done.exit_code == 0, done.err
    for expected in ("planned", "acme/grown", "tiny/llama", "325 rows", "vocabulary-grown"):
        assert expected in done.out
    assert "PeftModel.from_pretrained alone raises" in done.out
    assert done.err == ""


def test_text_fits_80_columns_and_has_no_colour_when_it_is_no_terminal(loadplan):
    done = loadplan("check", "acme/grown", "--require", "planned")
    assert max(len(line) for line in done.out.splitlines()) <= 80
    assert ESCAPE not in done.out


def test_json_is_one_document_and_nothing_else(loadplan):
    done = loadplan("check", "acme/grown", "--require", "planned", "--json")
    assert done.record["status"] == "planned"
    assert done.err == ""


def test_a_plan_alone_does_not_meet_the_default_requirement(loadplan, tmp_path):
    """Without the runner extra the record stays planned, and stderr says how to rehearse."""
    done = loadplan.start("check", "acme/plain", "--json", PYTHONPATH=without_runner(tmp_path))
    assert (done.exit_code, done.record["status"]) == (3, "planned"), done.err
    assert "loadplan[runner]" in done.err


def without_runner(folder):
    """A path on which torch cannot be found, as in a plain installation."""
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'transformers', 'peft', 'accelerate')))\n"
    )
    return f"{folder}:{ROOT}"


def test_a_local_folder_is_checked_like_a_repository(loadplan, tmp_path):
    write_files(adapter_files(), tmp_path / "adapter")
    done = loadplan("check", "./adapter", "--require", "planned", "--json")
    assert (done.exit_code, done.record["adapter"]["source"]) == (0, "local"), done.err


def test_a_folder_that_is_not_there_is_not_found(loadplan):
    done = loadplan("check", "./nowhere", "--json")
    assert (done.exit_code, done.record["status"]) == (3, "blocked"), done.err


# A shell's background jobs ignore SIGINT, and hand that down to what they start.
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from registry.cli.main import main; main()"
)


def test_interrupted_work_exits_130(loadplan, hub):
    rule = hub.inject(Delay(5), path="acme/plain")
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "check", "acme/plain"],
        env=loadplan.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while not rule.hits and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, b"")


# --- plan ---


def test_a_plan_is_numbered_steps(loadplan):
    done = loadplan("plan", "acme/grown")
    lines = [line.split() for line in done.out.splitlines() if line.strip()]
    numbered = [line[0] for line in lines if line[0].isdecimal()]
    assert (done.exit_code, numbered) == (0, ["1", "2", "3", "4"]), done.out


def test_a_plan_as_json_is_what_the_api_answers(loadplan):
    done = loadplan("plan", "acme/grown", "--format", "json")
    assert list(done.document) == ["adapter", "base", "status", "evidence", "plan", "issues"]
    steps = [step["op"] for step in done.document["plan"]["steps"]]
    assert steps == ["load_base", "load_tokenizer", "resize_embeddings", "load_adapter"]
    assert loadplan("plan", "acme/grown", "--json").out == done.out


def test_a_plan_as_python_is_a_script(loadplan):
    done = loadplan("plan", "acme/grown", "--format", "python")
    ast.parse(done.out)
    assert "resize_token_embeddings(325" in done.out


def test_without_a_plan_the_reasons_are_on_stderr(loadplan):
    done = loadplan("plan", "acme/alien", "--format", "python")
    assert (done.exit_code, done.out) == (3, "")
    assert "base-not-found" in done.err


# --- tensors ---


def test_tensors_that_differ_come_first(loadplan):
    done = loadplan("tensors", "acme/grown", "--json")
    rows = done.document
    assert [row["differs"] for row in rows[:2]] == [True, True]
    assert {tuple(row["base_shape"]) for row in rows[:2]} == {(320, 64)}
    assert not any(row["differs"] for row in rows[2:])
    assert all(row["base_shape"] == row["shape"] for row in rows[2:])


def test_tensors_are_a_table_for_people(loadplan):
    done = loadplan("tensors", "acme/grown")
    assert done.exit_code == 0
    assert "[325, 64]" in done.out
    assert "[320, 64]" in done.out
    assert "2 differ" in done.err


def test_tensors_of_an_unknown_base_have_no_shape_beside_them(loadplan):
    done = loadplan("tensors", "acme/alien", "--json")
    assert done.exit_code == 0
    assert {row["differs"] for row in done.document} == {None}


def test_tensors_that_could_not_be_read_are_not_said_to_be_none(loadplan):
    done = loadplan("tensors", "acme/unheard-of")
    assert done.exit_code == 3
    assert "No tensors were read." in done.err
    assert "0 tensors" not in done.err
    assert loadplan("tensors", "acme/unheard-of", "--json").document == []


# --- scan and list ---


def test_scan_records_many_and_list_shows_them(loadplan):
    done = loadplan("scan", "acme/grown", "acme/plain", "acme/alien", "--json")
    assert [record["status"] for record in done.document] == ["planned", "planned", "blocked"]
    assert [record["adapter"]["repo_id"] for record in done.document] == [
        *("acme/grown", "acme/plain", "acme/alien")
    ]
    assert done.exit_code == 3
    listed = loadplan("list", "--json").document
    assert {row["adapter"]["repo_id"] for row in listed} == {
        *("acme/grown", "acme/plain", "acme/alien")
    }
    assert all("scanned_at" in row for row in listed)
    grown_only = loadplan("list", "--issue", "vocabulary-grown", "--json").document
    assert [row["adapter"]["repo_id"] for row in grown_only] == ["acme/grown"]
    blocked = loadplan("list", "--status", "blocked", "--json").document
    assert [row["adapter"]["repo_id"] for row in blocked] == ["acme/alien"]
    assert len(loadplan("list", "--base", "tiny/llama", "--json").document) == 2
    assert len(loadplan("list", "--limit", "1", "--json").document) == 1


def test_the_list_is_a_table_that_fits(loadplan):
    loadplan("scan", "acme/grown", "acme/alien")
    done = loadplan("list")
    assert done.exit_code == 0
    assert "acme/grown" in done.out
    assert max(len(line) for line in done.out.splitlines()) <= 80


def test_an_empty_list_says_what_to_do_on_stderr(loadplan):
    done = loadplan("list")
    assert (done.exit_code, done.out) == (0, "")
    assert "loadplan scan" in done.err


def test_progress_is_drawn_on_a_terminal_only(loadplan):
    piped = loadplan("scan", "acme/plain", "--json")
    assert piped.err == ""
    assert ESCAPE in on_terminal(loadplan, "scan", "acme/plain", "--json")


def test_no_color_is_respected_on_a_terminal(loadplan):
    coloured = on_terminal(loadplan, "check", "acme/plain", "--require", "planned", both=True)
    plain = on_terminal(
        loadplan, "check", "acme/plain", "--require", "planned", both=True, NO_COLOR="1"
    )
    assert "\x1b[36m" in coloured
    assert "\x1b[36m" not in plain
    assert "planned" in plain


def on_terminal(loadplan, *arguments, both=False, **environment):
    """What a terminal is sent: stderr, and stdout too when `both`."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from registry.cli.main import main; main()", *arguments],
        cwd=loadplan.folder,
        env={**loadplan.environment, "TERM": "xterm-256color", **environment},
        stdout=follower if both else subprocess.DEVNULL,
        stderr=follower,
    )
    os.close(follower)
    text = b""
    while True:
        try:
            piece = os.read(leader, 65_536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    process.wait(timeout=30)
    os.close(leader)
    return text.decode()


# --- crawl, migrate, doctor ---


def test_crawl_records_what_the_hub_lists(loadplan, hub):
    done = loadplan("crawl", "--author", "acme", "--json")
    assert done.exit_code == 0, done.err
    assert sum(done.document.values()) >= 3
    assert set(done.document) <= {status.value for status in Status}
    assert len(loadplan("list", "--json").document) >= 3
    assert sum(loadplan("crawl", "--limit", "1", "--json").document.values()) == 1


def test_migrate_may_be_repeated(loadplan):
    first, second = loadplan("migrate"), loadplan("migrate")
    assert (first.exit_code, first.out, second.exit_code) == (0, "", 0)
    assert "Migrated" in first.err
    assert "nothing was to be done" in second.err


def test_doctor_looks_at_everything(loadplan):
    done = loadplan("doctor", "--json")
    assert done.exit_code == 0, done.out
    found = {finding["name"]: finding["state"] for finding in done.document}
    assert (found["database"], found["hub"], found["torch"]) == ("ok", "ok", "ok")


def test_doctor_fails_when_the_hub_does_not_answer(loadplan):
    done = loadplan("doctor", HF_ENDPOINT="http://127.0.0.1:1")
    assert done.exit_code == 5
    assert "hub" in done.out


# --- hostile text ---


def test_nothing_raw_from_a_repository_reaches_the_terminal(loadplan, hub):
    nasty = "\x1b[31m\x07\u202eq_proj\x9b"
    files = adapter_files(
        config={
            "target_modules": [nasty],
            "task_type": nasty,
            "base_model_name_or_path": f"/{nasty}",
        },
        rename=lambda name: name.replace("q_proj", nasty),
    )
    hub.add_commit("hostile/names", files)
    for command in (("check", "--require", "planned"), ("tensors",), ("plan",), ("list",)):
        arguments = (command[0], *command[1:])
        if command[0] != "list":
            arguments = (command[0], "hostile/names", *command[1:])
        done = loadplan(*arguments, "--base", "tiny/llama")
        shown = (done.out + done.err).replace("\n", "")
        assert shown.isprintable(), command
        as_json = loadplan(*arguments, "--base", "tiny/llama", "--json")
        assert as_json.out.isascii()
        json.loads(as_json.out)
