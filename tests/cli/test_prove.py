"""`loadplan prove`, here and through a service: real proofs, of tiny weights and on the CPU.

The service is the command itself; its runner is another process on the same database, in the
sandbox that this machine has.
"""

import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from registry.client import Client
from tests.cli.conftest import clean_environment
from tests.cli.test_server import free_port, wait_for
from tests.data.tiny import tiny_adapter, tiny_base

pytestmark = [
    pytest.mark.skipif(find_spec("peft") is None, reason="the extra runner is not installed"),
    pytest.mark.timeout(600),
    # The service is started once.
    pytest.mark.xdist_group("prove"),
]

BASE = "acme/tiny-llama"
GATES = {"landed", "nothing_else", "finite", "effect", "forward"}
LENIENT = {"LOADPLAN_PROOF_DEVICES": "cuda,cpu"}
# What the environment of a proof says it was run in, as the setting that leads there.
SANDBOX = ("bubblewrap", "auto") if shutil.which("bwrap") else ("process", "process")
# Imports of torch on a busy machine take a minute.
PATIENCE = 240.0


@pytest.fixture(scope="module")
def published(hub):
    hub.add_commit(BASE, tiny_base())
    for rank, name in enumerate(("acme/here", "acme/there", "acme/asked"), 2):
        hub.add_commit(name, tiny_adapter(BASE, lora={"r": rank}))


@pytest.fixture(scope="module")
def environment(hub, published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    return {
        **clean_environment(),
        **LENIENT,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hf"),
        "LOADPLAN_SANDBOX": SANDBOX[1],
        "LOADPLAN_DATABASE_URL": f"sqlite:///{folder}/registry.db",
    }


@contextmanager
def running(environment, log, *arguments):
    """The command in a process of its own, until the block ends."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", "from registry.cli.main import main; main()", *arguments],
            env=environment,
            stderr=file,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


@pytest.fixture(scope="module")
def service(environment, tmp_path_factory):
    """Its address and a token for it; a runner works beside it."""
    folder = tmp_path_factory.mktemp("logs")
    port = free_port()
    command = [sys.executable, "-c", "from registry.cli.main import main; main()"]
    made = subprocess.run(
        [*command, "token", "create", "--name", "n", "--scope", "scan", "--scope", "prove"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    with running(environment, folder / "serve.log", "serve", "--port", str(port)) as server:
        address = f"http://127.0.0.1:{port}"
        assert wait_for(f"{address}/readyz", server) == 200
        runner = ("work", "--queue", "prove", "--device", "cpu")
        with running(environment, folder / "work.log", *runner):
            yield address, made.stdout.strip()


def all_gates_passed(proof):
    """Each gate is in sight and was passed, on the CPU, in the sandbox of this machine."""
    outcomes = {gate: proof["checks"][gate]["outcome"] for gate in GATES}
    assert outcomes == dict.fromkeys(GATES, "passed")
    assert (proof["outcome"], proof["device"]) == ("passed", "cpu")
    assert proof["sandbox"] == SANDBOX[0]
    assert {"torch", "transformers", "peft", "python"} <= proof["environment"].keys()


def test_a_proof_asked_for_over_http_goes_through_the_queue_to_a_compatible_record(service):
    address, token = service
    with Client(address, token) as client:
        scan = client.wait(client.request_scan({"repo_id": "acme/asked"})["id"], seconds=PATIENCE)
        assert scan["state"] == "succeeded", scan
        assert client.record("acme/asked")["status"] == "rehearsed"
        asked = client.request_proof({"repo_id": "acme/asked"})
        assert (asked["kind"], asked["state"]) == ("prove", "queued")
        done = client.wait(asked["id"], seconds=PATIENCE)
        record = client.record("acme/asked")
        listed = client.proofs("acme/asked")
    assert done["state"] == "succeeded", done
    assert (record["status"], record["evidence"]) == ("compatible", "proven")
    assert listed == record["proofs"]
    (proof,) = listed
    assert proof["id"] == asked["id"]
    all_gates_passed(proof)


def test_the_command_asks_a_service_for_the_proof_and_waits(loadplan, service):
    address, token = service
    asked = ("prove", "acme/there", "--server", address)
    done = loadplan(*asked, "--json", LOADPLAN_TOKEN=token)
    assert (done.exit_code, done.record["status"]) == (0, "compatible"), done.err
    all_gates_passed(done.record["proofs"][0])
    refused = loadplan(*asked, "--json")
    assert (refused.exit_code, refused.document["code"]) == (4, "token-missing")


def test_the_command_proves_here_and_the_policy_decides_what_that_is_worth(loadplan, published):
    sandbox = {"LOADPLAN_SANDBOX": SANDBOX[1], "HF_HOME": str(loadplan.folder / "hf")}
    strict = loadplan("prove", "acme/here", "--json", **sandbox)
    assert (strict.exit_code, strict.record["status"]) == (3, "rehearsed"), strict.err
    assert "LOADPLAN_PROOF_DEVICES" in strict.err
    all_gates_passed(strict.record["proofs"][0])
    lenient = loadplan("prove", "acme/here", "--json", **sandbox, **LENIENT)
    assert (lenient.exit_code, lenient.record["status"]) == (0, "compatible"), lenient.err
    assert len(lenient.record["proofs"]) == 2
    said = json.loads(loadplan("check", "acme/here", "--json", "--require", "compatible").out)
    assert said["status"] == "compatible"
