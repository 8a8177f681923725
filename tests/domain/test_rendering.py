"""The printed script is what the plan says, and no name can change what it does."""

import ast

import pytest

from registry.domain.refs import Digest
from registry.domain.rendering import render_python
from registry.domain.steps import (
    FillRows,
    LoadAdapter,
    LoadBase,
    LoadTokenizer,
    Plan,
    RenameKeys,
    ResizeEmbeddings,
)

SHA = "a" * 40
DIGEST = Digest("sha256:" + "0" * 64)
BASE = LoadBase("AutoModelForCausalLM", "tiny/llama", SHA, {"dtype": "bfloat16", "num_labels": 3})
TOKENIZER = LoadTokenizer("adapter", "acme/lora", SHA, 33004, "sub")
ADAPTER = LoadAdapter("acme/lora", SHA, "sub")


def calls(script):
    """Every call of the script as `name(arguments)`, in order."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Call)]


def test_each_step_is_in_the_script():
    plan = Plan(
        DIGEST,
        (BASE, TOKENIZER, ResizeEmbeddings(33004), FillRows("output", 32000, 33004), ADAPTER),
    )
    script = render_python(plan)
    found = calls(script)
    assert (
        f"AutoModelForCausalLM.from_pretrained('tiny/llama', revision='{SHA}', "
        "dtype=torch.bfloat16, num_labels=3, use_safetensors=True)" in found
    )
    assert f"AutoTokenizer.from_pretrained('acme/lora', revision='{SHA}', subfolder='sub')" in found
    assert "base.resize_token_embeddings(33004, mean_resizing=False)" in found
    assert (
        f"PeftModel.from_pretrained(base, 'acme/lora', revision='{SHA}', subfolder='sub')" in found
    )
    assert "rows[32000:33004] = mean" in script
    assert (
        script.index("resize_token") < script.index("rows[32000") < script.index("PeftModel.from")
    )


def test_renamed_tensors_are_loaded_from_a_folder_of_their_own():
    plan = Plan(DIGEST, (BASE, RenameKeys({"old": "new"}, ("copy",)), ADAPTER))
    script = render_python(plan)
    found = calls(script)
    assert any(f"snapshot_download('acme/lora', revision='{SHA}', allow" in call for call in found)
    assert "PeftModel.from_pretrained(base, prepared)" in found
    assert "'old': 'new'" in script
    assert script.index("source =") < script.index("load_file(source")


def test_a_local_folder_is_named_without_a_revision():
    plan = Plan(DIGEST, (BASE, LoadAdapter("./adapter", f"sha256:{'1' * 64}", None)))
    assert "PeftModel.from_pretrained(base, './adapter')" in calls(render_python(plan))


@pytest.mark.parametrize(
    "name", ["'); import os; os.abort() #", 'x"\nimport os', "a\\", "\u202egpj", "\r\nimport os"]
)
def test_no_name_can_end_a_string_or_begin_a_line(name):
    plan = Plan(
        DIGEST,
        (
            LoadBase("AutoModel", name, SHA, {"dtype": "float32"}),
            RenameKeys({name: name}, (name,)),
            LoadAdapter(name, SHA, name),
        ),
    )
    script = render_python(plan)
    assert script.isascii()
    tree = ast.parse(script)
    modules = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert modules == {"shutil", "tempfile", "torch"}


@pytest.mark.parametrize(
    "step",
    [
        LoadBase("AutoModel.x()", "tiny/llama", SHA, {}),
        LoadBase("eval", "tiny/llama", SHA, {}),
        LoadBase("AutoModel", "tiny/llama", SHA, {"dtype": "float32)"}),
        LoadBase("AutoModel", "tiny/llama", SHA, {"a b": 1}),
        LoadAdapter("acme/lora", SHA, None, {"a=b": 1}),
    ],
)
def test_what_would_stand_as_code_must_be_a_plain_name(step):
    with pytest.raises(ValueError, match="of a plan"):
        render_python(Plan(DIGEST, (step,)))
