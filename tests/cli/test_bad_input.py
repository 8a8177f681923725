"""Every bad input has its own code, its own exit code, and a sentence on what to do."""

import json
import socket
import stat

import pytest

from tests.cli.publishing import (
    adapter_files,
    publish_adapter,
    publish_base,
    tiny_base,
)
from tests.data.adapters import Lora, lora_tensors
from tests.data.bases import base_repository
from tests.data.broken import cut_off, framed, hostile_configs, misnamed, pointer_file
from tests.data.pickles import hostile_pickles, zip_pickle
from tests.hub import Hole, rate_limited


@pytest.fixture(scope="module", autouse=True)
def base(hub):
    return publish_base(hub)


def check(loadplan, reference, *more, **environment):
    return loadplan("check", reference, "--require", "planned", "--json", *more, **environment)


def assert_explained(done, code, exit_code, status):
    assert (done.record["status"], done.exit_code) == (status, exit_code), done.err
    found = {issue["code"]: issue for issue in done.record["issues"]}
    assert code in found
    assert found[code]["severity"] == "error"
    assert len(found[code]["message"]) > 10
    assert found[code]["fix"]


# --- the Hub ---


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_without_a_network_nothing_is_known_and_the_record_says_failed(loadplan):
    done = check(loadplan, "acme/any", HF_ENDPOINT=f"http://127.0.0.1:{closed_port()}")
    assert_explained(done, "hub-unreachable", 5, "failed")


def test_without_a_network_a_recorded_answer_is_given_with_a_warning(loadplan, hub):
    publish_adapter(hub, "acme/recorded")
    first = check(loadplan, "acme/recorded")
    again = check(loadplan, "acme/recorded", HF_ENDPOINT=f"http://127.0.0.1:{closed_port()}")
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert again.document == first.document
    assert "warning" in again.err
    assert "recorded" in again.err


def test_a_quota_that_stays_used_up_is_a_failure_and_says_when_to_return(loadplan, hub):
    publish_adapter(hub, "acme/limited")
    rule = hub.inject(rate_limited(3_600), path="acme/limited")
    done = check(loadplan, "acme/limited")
    assert_explained(done, "hub-rate-limited", 5, "failed")
    assert rule.hits >= 1


def test_a_gated_adapter_needs_access(loadplan, hub):
    publish_adapter(hub, "acme/gated")
    hub.set_gated("acme/gated")
    assert_explained(check(loadplan, "acme/gated"), "adapter-gated", 4, "blocked")


def test_a_token_with_access_opens_a_gated_adapter(loadplan, hub):
    publish_adapter(hub, "acme/opened")
    hub.set_gated("acme/opened")
    token = hub.add_token("hf_reader", may_read=("acme/opened",))
    done = check(loadplan, "acme/opened", HF_TOKEN=token)
    assert (done.exit_code, done.record["status"]) == (0, "planned"), done.err
    assert token not in done.out + done.err


def test_a_missing_repository_is_not_shown_as_a_fault_of_the_adapter(loadplan):
    assert_explained(check(loadplan, "acme/nobody"), "adapter-not-found", 3, "blocked")


def test_a_private_repository_answers_as_a_missing_one(loadplan, hub):
    publish_adapter(hub, "acme/private")
    hub.set_private("acme/private")
    assert_explained(check(loadplan, "acme/private"), "adapter-not-found", 3, "blocked")


def test_a_missing_revision_is_named(loadplan, hub):
    publish_adapter(hub, "acme/branches")
    assert_explained(check(loadplan, "acme/branches@no-such"), "revision-not-found", 3, "blocked")


# --- the adapter's files ---


def without(files, *names):
    return {name: content for name, content in files.items() if name not in names}


def weights(content, name="adapter_model.safetensors"):
    return {**without(adapter_files(), "adapter_model.safetensors"), name: content}


def _tensors():
    return lora_tensors(tiny_base(), Lora())


BROKEN_FILES = {
    "no weights": (
        lambda: without(adapter_files(), "adapter_model.safetensors"),
        "weights-missing",
    ),
    "misnamed weights": (lambda: misnamed(adapter_files()), "weights-misnamed"),
    "LFS pointer": (
        lambda: weights(Hole(pointer_file(), len(pointer_file()))),
        "weights-lfs-pointer",
    ),
    "truncated file": (lambda: weights(cut_off(_tensors())), "weights-truncated"),
    "hostile header": (lambda: weights(framed("[" * 5_000)), "header-invalid"),
    "a header longer than any": (lambda: weights(framed("{}", length=2**63)), "header-invalid"),
}


@pytest.mark.parametrize(("files", "code"), BROKEN_FILES.values(), ids=BROKEN_FILES.keys())
def test_a_broken_weights_file_makes_the_adapter_incompatible(loadplan, hub, files, code):
    hub.add_commit(f"broken/{code}", files())
    assert_explained(check(loadplan, f"broken/{code}"), code, 1, "incompatible")


def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(loadplan, hub, tmp_path):
    marker = tmp_path / "ran"
    for number, content in enumerate(hostile_pickles(marker).values()):
        hub.add_commit(f"pickle/hostile{number}", weights(content, "adapter_model.bin"))
        done = check(loadplan, f"pickle/hostile{number}")
        assert_explained(done, "weights-pickle-unsafe", 1, "incompatible")
        if number == 2:
            break
    assert not marker.exists()


def test_an_honest_pickle_is_read_with_a_warning(loadplan, hub):
    hub.add_commit("pickle/honest", weights(zip_pickle(_tensors()), "adapter_model.bin"))
    done = check(loadplan, "pickle/honest")
    assert (done.exit_code, done.record["status"]) == (0, "planned"), done.out
    assert "weights-pickle" in done.codes_of("warning")


def test_a_pattern_that_never_ends_is_stopped(loadplan, hub):
    config = hostile_configs("tiny/llama")["pattern that never ends"]
    hub.add_commit("hostile/pattern", {**adapter_files(), "adapter_config.json": config})
    done = check(loadplan, "hostile/pattern")
    assert_explained(done, "config-pattern-too-slow", 3, "unsupported")


def test_a_config_that_is_no_json_is_invalid(loadplan, hub):
    hub.add_commit("hostile/config", {**adapter_files(), "adapter_config.json": "{peft"})
    assert_explained(check(loadplan, "hostile/config"), "config-invalid", 1, "incompatible")


def test_a_tokenizer_that_cannot_be_read_is_unknown_and_not_absent(loadplan, hub):
    files = adapter_files(tokenizer={"tokenizer.json": "{", "tokenizer_config.json": "{}"})
    hub.add_commit("hostile/tokenizer", files)
    done = check(loadplan, "hostile/tokenizer")
    assert done.exit_code == 0, done.out
    assert "tokenizer-unknown" in done.codes_of("warning")
    assert done.record["facts"]["tokenizer_length"] is None


def test_a_repository_without_an_adapter_is_unsupported(loadplan, hub):
    hub.add_commit("acme/readme", {"README.md": "# nothing here"})
    assert_explained(check(loadplan, "acme/readme"), "not-a-peft-adapter", 3, "unsupported")


def test_another_tools_files_are_named_as_such(loadplan, hub):
    hub.add_commit(
        "acme/mlx", {"adapters.safetensors": adapter_files()["adapter_model.safetensors"]}
    )
    done = check(loadplan, "acme/mlx")
    assert_explained(done, "foreign-format", 3, "unsupported")
    assert "mlx" in done.out


# --- the base ---


def declaring(base):
    return adapter_files(config={"base_model_name_or_path": base})


@pytest.mark.parametrize("declared", [None, ""], ids=["null", "empty"])
def test_an_undeclared_base_is_asked_for_and_fitting_ones_are_offered(loadplan, hub, declared):
    publish_adapter(hub, "acme/known")
    check(loadplan, "acme/known")
    hub.add_commit("acme/undeclared", declaring(declared))
    done = check(loadplan, "acme/undeclared")
    assert_explained(done, "base-undeclared", 3, "blocked")
    assert done.record["base"] is None
    assert "tiny/llama" in done.record["issues"][0]["message"]


@pytest.mark.parametrize(
    "path", ["/data/models/llama", "./out", "../base", "~/llama", "C:\\models\\llama", "a/b/c"]
)
def test_a_local_path_as_base_is_never_read(loadplan, hub, path):
    hub.add_commit("acme/local-base", declaring(path))
    assert_explained(check(loadplan, "acme/local-base"), "base-local-path", 3, "blocked")


def test_a_named_base_takes_the_place_of_a_local_path(loadplan, hub):
    hub.add_commit("acme/local-base", declaring("/data/models/llama"))
    done = check(loadplan, "acme/local-base", "--base", "tiny/llama")
    assert (done.exit_code, done.record["status"]) == (0, "planned"), done.out
    assert "base-local-path" in done.codes_of("info")


def test_a_base_that_is_gone_blocks(loadplan, hub):
    hub.add_commit("acme/orphan", declaring("gone/base"))
    assert_explained(check(loadplan, "acme/orphan"), "base-not-found", 3, "blocked")


def test_a_gated_base_is_a_refusal(loadplan, hub):
    hub.add_commit("tiny/gated", base_repository(tiny_base("tiny/gated")))
    hub.set_gated("tiny/gated")
    hub.add_commit("acme/on-gated", declaring("tiny/gated"))
    assert_explained(check(loadplan, "acme/on-gated"), "base-gated", 4, "blocked")


def test_files_that_already_decide_come_before_a_missing_base(loadplan, hub):
    files = {
        **declaring("gone/base"),
        "adapter_model.safetensors": cut_off(_tensors()),
    }
    hub.add_commit("acme/broken-orphan", files)
    done = check(loadplan, "acme/broken-orphan")
    assert_explained(done, "weights-truncated", 1, "incompatible")


def test_a_gated_base_does_not_hide_what_the_header_shows(loadplan, hub):
    files = adapter_files(
        config={"base_model_name_or_path": "tiny/gated-too"},
        rename=lambda name: None if "q_proj.lora_B" in name else name,
    )
    hub.add_commit("tiny/gated-too", base_repository(tiny_base("tiny/gated-too")))
    hub.set_gated("tiny/gated-too")
    hub.add_commit("acme/halved", files)
    done = check(loadplan, "acme/halved")
    assert_explained(done, "tensors-missing", 1, "incompatible")
    assert "base-gated" in done.codes


# --- the caller and the machine ---


@pytest.mark.parametrize(
    "reference",
    ["", "a b/c", "acme/lora@", "acme/../etc", "acme/lora:../up", "a/b/c", "acme/lora@-x"],
)
def test_a_reference_that_cannot_be_read_is_a_usage_error(loadplan, reference):
    done = check(loadplan, reference)
    assert done.exit_code == 2
    assert done.document["code"] == "invalid-request"
    assert "error" in done.err


def test_an_unknown_option_is_a_usage_error(loadplan):
    done = loadplan("check", "acme/lora", "--no-such-option")
    assert (done.exit_code, done.out) == (2, "")


def test_an_unknown_setting_is_named_with_the_closest_one(loadplan):
    done = check(loadplan, "acme/lora", LOADPLAN_DATABSE_URL="sqlite:///x.db")
    assert done.exit_code == 2
    assert done.document["code"] == "setting-invalid"
    assert "LOADPLAN_DATABASE_URL" in done.err


def test_settings_of_the_test_suite_are_ignored(loadplan, hub):
    publish_adapter(hub, "acme/test-setting")
    assert check(loadplan, "acme/test-setting", LOADPLAN_TEST_ANYTHING="1").exit_code == 0


def test_a_database_that_does_not_answer_is_our_failure(loadplan):
    url = f"postgresql+psycopg://nobody@127.0.0.1:{closed_port()}/none"
    done = check(loadplan, "acme/lora", LOADPLAN_DATABASE_URL=url)
    assert done.exit_code == 5
    assert done.document["code"] == "database-unavailable"


def test_a_database_url_is_never_repeated_in_a_message(loadplan):
    url = "postgresql+psycopg://nobody:hunter2@127.0.0.1:1/none"
    done = check(loadplan, "acme/lora", LOADPLAN_DATABASE_URL=url)
    assert done.exit_code == 5
    assert "hunter2" not in done.out + done.err


def test_the_database_folder_of_a_new_installation_is_closed_to_others(loadplan, tmp_path):
    folder = tmp_path / "new" / "folder"
    done = loadplan("list", "--json", LOADPLAN_DATABASE_URL=f"sqlite:///{folder}/r.db")
    assert (done.exit_code, json.loads(done.out)) == (0, []), done.err
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
