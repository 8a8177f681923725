"""The same questions put to a loadplan service, and the service started by the command."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.cli.publishing import grown, publish_adapter, publish_base

RECORDED = ("acme/grown", "acme/plain")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def published(hub):
    publish_base(hub)
    hub.add_commit("acme/grown", grown())
    publish_adapter(hub, "acme/plain")


@pytest.fixture
def server(loadplan, published):
    """A service on the command's own database, where two adapters are recorded."""
    assert loadplan("scan", *RECORDED).exit_code == 0
    port = free_port()
    process = start_service(loadplan, port)
    try:
        assert wait_for(f"http://127.0.0.1:{port}/readyz", process) == 200
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def start_service(loadplan, port):
    return subprocess.Popen(
        [sys.executable, "-c", "from registry.cli.main import main; main()", "serve"],
        cwd=loadplan.folder,
        env={**loadplan.environment, "LOADPLAN_PORT": str(port)},
        stderr=subprocess.PIPE,
        text=True,
    )


def stop(process):
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    return err


def test_a_server_answers_with_the_same_record(loadplan, server):
    alone = loadplan("check", "acme/grown", "--require", "planned", "--json")
    asked = loadplan("check", "acme/grown", "--require", "planned", "--json", "--server", server)
    assert (asked.exit_code, asked.record) == (0, alone.record), asked.err


def test_with_a_server_compatible_is_required_by_default(loadplan, server):
    done = loadplan("check", "acme/grown", "--json", LOADPLAN_SERVER=server)
    assert (done.exit_code, done.record["status"]) == (3, "planned")


def test_plan_tensors_and_list_ask_the_server_too(loadplan, server):
    plan = loadplan("plan", "acme/grown", "--json", "--server", server)
    assert plan.document["plan"] == loadplan("plan", "acme/grown", "--json").document["plan"]
    script = loadplan("plan", "acme/grown", "--format", "python", "--server", server)
    assert "resize_token_embeddings(325" in script.out
    tensors = loadplan("tensors", "acme/grown", "--json", "--server", server)
    assert tensors.document == loadplan("tensors", "acme/grown", "--json").document
    listed = loadplan("list", "--json", "--server", server).document
    assert {row["adapter"]["repo_id"] for row in listed} == set(RECORDED)
    assert len(loadplan("list", "--limit", "1", "--json", "--server", server).document) == 1


def test_what_is_not_recorded_is_not_known_without_a_token(loadplan, server):
    done = loadplan("check", "acme/unheard-of", "--json", "--server", server)
    assert done.exit_code == 3
    assert done.document["code"] == "adapter-not-recorded"


def test_a_folder_of_this_machine_is_nothing_for_a_server(loadplan, server):
    done = loadplan("check", "./adapter", "--json", "--server", server)
    assert (done.exit_code, done.document["code"]) == (2, "invalid-request")


def test_a_server_that_does_not_answer_is_a_failure(loadplan):
    done = loadplan("check", "acme/grown", "--json", "--server", "http://127.0.0.1:1")
    assert (done.exit_code, done.document["code"]) == (5, "server-unreachable")


def test_serve_migrates_serves_and_stops_when_asked(loadplan):
    port = free_port()
    process = start_service(loadplan, port)
    try:
        assert wait_for(f"http://127.0.0.1:{port}/readyz", process) == 200
    finally:
        err = stop(process)
    assert f"127.0.0.1:{port}" in err
    assert "loadplan token create" in err
    assert process.returncode in (0, -signal.SIGTERM)


def wait_for(url, process):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status
        except OSError:
            time.sleep(0.1)
    return None


def test_a_closed_pipe_is_no_word_on_the_adapter(loadplan, published):
    loadplan("scan", *RECORDED)
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [sys.executable, "-c", "from registry.cli.main import main; main()", "list", "--json"],
        cwd=loadplan.folder,
        env=loadplan.environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (5, "")
