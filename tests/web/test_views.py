"""What pages make of records before anything is written: words, shapes, pictures, differences."""

from dataclasses import replace

import pytest

from api.web.comparing import Side, compare_bases, compare_sides
from api.web.declared import compare_declared
from api.web.evidence import explain, measured_memory, say_versions, show_proof
from api.web.operation_view import show_operation
from api.web.picture import draw
from api.web.render import address, environment
from api.web.steps import show_steps, ways_to_load
from api.web.tensors import make_table, mark_dims, say_difference
from registry.db.operations import Operation, State
from registry.domain.issues import make_issue
from registry.domain.record import Status
from registry.domain.steps import FillRows, RenameKeys, ResizeEmbeddings
from registry.domain.tensors import TensorSpec
from registry.planning.comparing import TensorPair
from tests.db.examples import NOON, adapter_facts, base_facts, proof, record, ref

PREFIX = "base_model.model.model.layers"


def pair(layer, module="self_attn.q_proj", shape=(8, 64), base=(8, 64), part="lora_A"):
    return TensorPair(f"{PREFIX}.{layer}.{module}.{part}.weight", "BF16", shape, base)


def test_only_the_dimension_that_differs_is_marked():
    assert mark_dims((33004, 4096), (32000, 4096)) == ((33004, True), (4096, False))
    assert mark_dims((4,), (4, 1)) == ((4, True),)
    assert mark_dims((4, 4), None) == ((4, False), (4, False))


@pytest.mark.parametrize(
    ("shape", "base", "said"),
    [
        ((33004, 64), (32000, 64), "rows +1,004"),
        ((8, 60), (8, 64), "columns -4"),
        ((9, 60), (8, 64), "rows +1, columns -4"),
        ((5,), (4,), "size +1"),
        ((5, 1), (5,), "2 dimensions, not 1"),
        ((5, 5, 6), (5, 5, 5), "axis 2 +1"),
    ],
)
def test_a_difference_is_said_in_words(shape, base, said):
    assert say_difference(shape, base) == said


def test_differences_stand_alone_and_the_rest_is_folded_by_layer():
    pairs = [pair(3, base=(4, 64)), *(pair(layer) for layer in range(3)), pair(9, base=None)]
    table = make_table(pairs)
    assert table.total == 5
    assert [line.name for line in table.differing] == [pairs[0].name]
    assert [(line.name, line.count, line.differs) for line in table.rest] == [
        (f"{PREFIX}.*.self_attn.q_proj.lora_A.weight", 3, False),
        (pairs[-1].name, 1, None),
    ]
    many = make_table([pair(layer, base=(1, 1)) for layer in range(300)])
    assert (len(many.differing), many.left_out) == (200, 100)


def test_the_picture_shows_gaps_mismatches_and_what_is_unknown():
    drawn = draw(
        [
            pair(0),
            pair(0, "mlp.up_proj", base=None),
            pair(2, base=(4, 64)),
            pair(2, "mlp.up_proj"),
            TensorPair("base_model.model.lm_head.weight", "F32", (9, 64), (8, 64)),
        ],
        "LORA",
    )
    assert drawn.numbers == [0, 1, 2]
    cells = {row.label: [cell.state for cell in row.cells] for row in drawn.rows}
    assert cells == {
        "mlp.up_proj": ["unknown", "gap", "match"],
        "self_attn.q_proj": ["match", "gap", "differs"],
        "lm_head": ["differs"],
    }
    texts = {row.label: [cell.text for cell in row.cells] for row in drawn.rows}
    assert texts["self_attn.q_proj"] == ["8", "", "8"]
    assert texts["lm_head"] == ["F32"]
    assert drawn.said == (
        "2 modules in layers 0 to 2 and 1 outside the layers: 2 fits, 2 differs from the base, "
        "1 base shape not known, 2 not in the file."
    )
    assert drawn.rows[0].cells[1].title == "layer 1, mlp.up_proj: not in the file"


def test_a_picture_of_very_much_is_cut_and_says_so():
    drawn = draw([pair(layer, f"m{n}") for layer in (0, 999) for n in range(60)], "LORA")
    assert (len(drawn.rows), len(drawn.numbers)) == (40, 160)
    assert drawn.left_out == 20 + 840
    assert draw([], "LORA") is None
    assert draw([pair(10**12)], "LORA").rows[0].outside


def test_every_kind_of_step_is_a_sentence():
    one = record()
    steps = (
        *one.plan.steps[:2],
        ResizeEmbeddings(33004),
        FillRows("output", 32000, 33004),
        RenameKeys({"a": "b"}, ("c",)),
        replace(one.plan.steps[-1], subfolder="sub", overwrites=("x.bias",)),
    )
    shown = show_steps(replace(one.plan, steps=steps))
    assert [step.title for step in shown] == [
        "Load the base",
        "Load the adapter's own tokenizer",
        "Resize the embeddings to 33,004 rows",
        "Fill output rows 32,000 to 33,003",
        "Rename 1 tensors, leave out 1",
        "Load the adapter",
    ]
    assert shown[4].more == ["a → b", "c is left out: a copy"]
    assert "1 parameters of the base are replaced" in shown[5].why


def test_ways_name_the_pair_and_quote_it_for_the_shell():
    one = record(ref("acme/chat-lora", "adapter", subfolder="it's"))
    query = {"revision": "v1", "subfolder": "it's", "base": "acme/base@main"}
    ways = {way.title: way.text for way in ways_to_load(one, "https://plans.acme.dev", query)}
    command = ways["Command line"]
    assert "'acme/chat-lora@v1:it'\"'\"'s' --base acme/base@main" in command
    assert "revision=v1&subfolder=it%27s&base=acme%2Fbase%40main" in ways["curl"]
    for title, text in ways.items():
        if title.startswith("Python"):
            compile(text, title, "exec")


@pytest.mark.parametrize("status", Status)
def test_every_status_is_explained(status):
    assert explain(replace(record(), status=status), None).endswith(".")


def test_compatible_is_explained_with_the_versions_it_holds_for():
    passed = replace(proof(), environment={"torch": "2.13.0", "peft": "0.21.2"})
    said = explain(replace(record(), status=Status.COMPATIBLE, proofs=(passed,)), None)
    assert "torch 2.13.0, peft 0.21.2" in said
    assert say_versions({}) == "versions not recorded"


def test_an_incompatible_record_is_explained_by_its_first_error():
    issue = make_issue("shape-mismatch", "This does not fit.")
    one = replace(record(), status=Status.INCOMPATIBLE, issues=(issue,))
    assert explain(one, None) == "No plan loads it as it stands. This does not fit."


def test_a_proof_shows_every_gate_reached_or_not_and_every_measurement():
    checks = {
        "landed": {"outcome": "failed", "figure": {"missing": 2}, "reason": "lost"},
        "peak_memory_bytes": 2048,
        "brand_new": [1] * 20,
    }
    shown = show_proof(replace(proof(), checks=checks))
    assert [gate.outcome for gate in shown.gates] == ["failed", None, None, None, None]
    assert shown.gates[0].figures == [("missing", 2)]
    assert [measure.title for measure in shown.measures] == ["Peak memory", "brand_new"]
    assert shown.measures[0].is_bytes


def test_memory_is_measured_by_passed_proofs_alone():
    low, high = (
        replace(proof(f"p{size}"), checks={"peak_memory_bytes": size}) for size in (10, 20)
    )
    failed = replace(high, outcome="failed", checks={"peak_memory_bytes": 99})
    assert measured_memory(replace(record(), proofs=(low, high, failed))) == 20
    assert measured_memory(record()) is None


def test_what_is_declared_stands_beside_what_is_found():
    one = record()
    facts = adapter_facts(one.adapter)
    lines = {line.title: line for line in compare_declared(one, facts)}
    # The config names two targets, the file holds seven.
    assert lines["Target modules"].agree is False
    assert "down_proj ×32" in lines["Target modules"].found
    assert lines["Base"].agree is True
    assert lines["DoRA"].agree is True
    assert compare_declared(one, replace(facts, config=None)) == []


def test_a_classifier_of_many_layers_is_one_saved_module():
    one = record()
    layout = tuple(
        TensorSpec(f"base_model.model.classifier.{part}.weight", "F32", (4, 4))
        for part in ("dense", "out_proj")
    )
    facts = adapter_facts(one.adapter, layout=layout)
    config = replace(facts.config, modules_to_save=("classifier", "score"))
    lines = compare_declared(one, replace(facts, config=config))
    saved = next(line for line in lines if line.title == "Modules saved whole")
    assert (saved.declared, saved.found, saved.agree) == ("classifier, score", "classifier", True)


def test_two_sides_differ_in_what_differs_alone():
    one = record()
    left = Side(one, adapter_facts(one.adapter), base_facts(one.base))
    same = compare_sides(left, left)
    assert not any(same[name] for name in ("verdict", "plan", "issues", "config", "tensors"))
    assert same["same_content"]
    grown = adapter_facts(one.adapter, rank=16)
    right = Side(replace(one, status=Status.STALE, plan=None), grown, left.base)
    found = compare_sides(left, right)
    assert [line.name for line in found["verdict"]] == ["status"]
    assert [line.right for line in found["plan"]] == [None] * 3
    assert [(line.name, line.left, line.right) for line in found["config"]] == [("r", "8", "16")]
    row = found["tensors"][0]
    assert (row["left"], row["right"]) == (((8, True), (4096, False)), ((16, True), (4096, False)))
    assert found["tensors_left_out"] == 448 - 300


def test_bases_are_compared_by_config_tokenizer_and_tensors():
    before = base_facts(ref("acme/base", "one"))
    assert [line.left for line in compare_bases(before, before)] == ["the same"]
    layout = (*before.weights.layout[1:], TensorSpec("new.weight", "F32", (1,)))
    after = replace(
        before,
        weights=replace(before.weights, layout=layout),
        tokenizer=replace(before.tokenizer, length=32001),
    )
    names = [line.name for line in compare_bases(before, after)]
    assert names == ["length", "tensors removed", "tensors added"]


def operation(state, progress=None, **more):
    values = {
        "id": "5f0c2f0e",
        "kind": "scan",
        "state": state,
        "dedupe_key": "",
        "priority": 1,
        "request": {"repo_id": "acme/a", "revision": "v1"},
        "requester_token_id": None,
        "attempts": 1,
        "progress": progress,
        "result": None,
        "problem": None,
        "executor_id": None,
        "created_at": NOON,
        "started_at": None,
        "finished_at": None,
    }
    return Operation(**values | more)


@pytest.mark.parametrize(
    ("state", "progress", "said", "stages"),
    [
        (State.QUEUED, None, "waiting for a worker", "now next next next"),
        (State.RUNNING, {"stage": "reading"}, "reading headers", "done now next next"),
        (State.RUNNING, {"stage": "rehearsing"}, "rehearsing", "done done now next"),
        (State.QUEUED, {"stage": "waiting"}, "waiting to be tried", "done now next next"),
        (State.SUCCEEDED, {"stage": "done"}, "done", "done done done done"),
        (State.FAILED, {"stage": "done"}, "did not come", "done next next next"),
        (State.RUNNING, {"stage": "unheard-of"}, "unheard-of", "done now next next"),
    ],
)
def test_an_operation_is_told_in_words_and_stages(state, progress, said, stages):
    shown = show_operation(operation(state, progress))
    assert said in shown["said"]
    assert " ".join(stage["state"] for stage in shown["stages"]) == stages
    assert shown["result"] == "/adapters/acme/a?revision=v1"


def test_what_a_visitor_may_not_see_is_not_told():
    problem = {"code": "adapter-gated", "detail": "secret"}
    running = operation(State.RUNNING, {"stage": "rehearsing"}, problem=problem)
    shown = show_operation(running, open_to=False)
    assert shown["problem"] is None
    assert "rehearsing" not in shown["said"]


def test_addresses_leave_out_what_is_empty_and_quote_the_rest():
    assert address("/", q="a&b=c", status=None, base="") == "/?q=a%26b%3Dc"
    assert address("/") == "/"


def test_every_template_compiles():
    made = environment()
    names = made.list_templates()
    assert "adapter.html" in names
    assert [made.get_template(name).name for name in names] == names
