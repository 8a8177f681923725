"""Steps as JSON, in both directions, and the digest over them."""

import hashlib
import json
from dataclasses import replace

import pytest
import rfc8785

from registry.domain.steps import (
    FillRows,
    LoadAdapter,
    LoadBase,
    LoadTokenizer,
    Plan,
    RenameKeys,
    ResizeEmbeddings,
    compute_plan_digest,
    plan_from_json,
)
from registry.errors import InvalidRequest

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
STEPS = (
    LoadBase("AutoModelForCausalLM", "acme/base", "2" * 40, {"dtype": "bfloat16", "num_labels": 3}),
    LoadTokenizer("adapter", "acme/adapter", "1" * 40, 40, "checkpoint-7"),
    ResizeEmbeddings(40),
    FillRows("output", 32, 40),
    RenameKeys({"a": "b"}, ("c",)),
    LoadAdapter("acme/adapter", "1" * 40, "checkpoint-7", {}, ("model.norm.weight",)),
)


def plan(*steps):
    return Plan(compute_plan_digest(A, B, steps), steps)


def test_a_plan_reads_back_what_it_prints():
    document = json.loads(json.dumps(plan(*STEPS).to_json()))
    assert plan_from_json(document) == plan(*STEPS)


def test_steps_are_printed_as_the_contract_has_them():
    steps = plan(*STEPS).to_json()["steps"]
    assert steps[2] == {"op": "resize_embeddings", "rows": 40, "mean_resizing": False}
    assert steps[3] == {
        "op": "fill_rows", "side": "output", "first": 32, "end": 40, "with": "mean"
    }  # fmt: skip
    assert steps[4] == {"op": "rename_keys", "renames": {"a": "b"}, "dropped": ["c"]}


def test_members_without_content_are_left_out():
    bare = replace(STEPS[5], overwrites=())
    assert "overwrites" not in bare.to_json()
    assert "subfolder" not in replace(STEPS[1], subfolder=None).to_json()
    assert bare.to_json()["subfolder"] == "checkpoint-7"


def test_the_digest_is_canonical_json_without_the_places():
    steps = plan(*STEPS).to_json()["steps"]
    bare = [{k: v for k, v in s.items() if k not in ("repo_id", "revision")} for s in steps]
    document = {"schema_version": 1, "adapter": A, "base": B, "steps": bare}
    expected = hashlib.sha256(rfc8785.dumps(document)).hexdigest()
    assert compute_plan_digest(A, B, STEPS) == f"sha256:{expected}"


def test_equal_content_elsewhere_has_the_same_digest():
    moved = (replace(STEPS[0], repo_id="mirror/base", revision="9" * 40), *STEPS[1:])
    assert compute_plan_digest(A, B, moved) == compute_plan_digest(A, B, STEPS)
    changed = (*STEPS[:2], ResizeEmbeddings(41), *STEPS[3:])
    assert compute_plan_digest(A, B, changed) != compute_plan_digest(A, B, STEPS)
    assert compute_plan_digest(B, A, STEPS) != compute_plan_digest(A, B, STEPS)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d.pop("digest"), id="no digest"),
        pytest.param(lambda d: d.update(schema_version=2), id="another version"),
        pytest.param(lambda d: d.update(steps={}), id="steps that are no list"),
        pytest.param(lambda d: d["steps"].append("run"), id="a step that is no object"),
        pytest.param(lambda d: d["steps"].append({"op": "run_code"}), id="an unknown step"),
        pytest.param(lambda d: d["steps"][2].update(rows=True), id="a truth value for a number"),
        pytest.param(lambda d: d["steps"][2].update(rows=0), id="no rows"),
        pytest.param(lambda d: d["steps"][3].update(side="left"), id="an unknown side"),
        pytest.param(lambda d: d["steps"][0].update(kwargs={"a": {}}), id="nested kwargs"),
        pytest.param(lambda d: d["steps"][1].update(length="40"), id="text for a number"),
        pytest.param(lambda d: d["steps"][1].update(of="nobody"), id="nobody's tokenizer"),
        pytest.param(lambda d: d["steps"][5].update(subfolder=7), id="a number for a folder"),
    ],
)
def test_what_is_no_plan_is_refused(change):
    document = json.loads(json.dumps(plan(*STEPS).to_json()))
    change(document)
    with pytest.raises(InvalidRequest):
        plan_from_json(document)


def test_a_plan_is_an_object():
    with pytest.raises(InvalidRequest):
        plan_from_json([])
