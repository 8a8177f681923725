"""A plan as a Python script that runs as it stands, with torch, transformers and PEFT alone.

Every value of the adapter's making is written as an ASCII literal, so that no name can end a string
or begin a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from registry.domain.steps import (
    FillRows,
    LoadAdapter,
    LoadBase,
    LoadTokenizer,
    Plan,
    RenameKeys,
    ResizeEmbeddings,
)

_HEAD = """\
# Load plan {digest}
# The same with every tensor checked: registry.loading.load_adapter of the package loadplan.
"""
_LOCAL_COMMIT = "sha256:"
_ADAPTER_FILES = '["*adapter_config.json", "*adapter_model.safetensors"]'
# `auto_class` is the one text that stands in the script as code.
_AUTO_CLASS_PREFIX = "AutoModel"


def render_python(plan: Plan) -> str:
    """The script. At its end `model` and, where the plan has one, `tokenizer` are there.

    Raises ValueError for a plan whose auto class or dtype is no plain name: none of ours is.
    """
    renames = next((step for step in plan.steps if isinstance(step, RenameKeys)), None)
    body: list[str] = []
    for step in plan.steps:
        match step:
            case LoadBase():
                body += _load_base(step)
            case LoadTokenizer():
                body += _load_tokenizer(step)
            case ResizeEmbeddings():
                body += [f"base.resize_token_embeddings({step.rows}, mean_resizing=False)"]
            case FillRows():
                body += _fill_rows(step)
            case RenameKeys():
                body += _rename_keys(step)
            case LoadAdapter():
                body += _load_renamed() if renames else _load_adapter(step)
    body = _with_adapter_source(body, plan)
    return "\n".join([_HEAD.format(digest=plan.digest), *_imports(plan), "", *body, ""])


def _imports(plan: Plan) -> Iterator[str]:
    kinds = {type(step) for step in plan.steps}
    classes = {step.auto_class for step in plan.steps if isinstance(step, LoadBase)}
    if LoadTokenizer in kinds:
        classes.add("AutoTokenizer")
    if RenameKeys in kinds:
        yield "import shutil"
        yield "import tempfile"
        yield "from pathlib import Path"
        yield ""
    yield "import torch"
    if RenameKeys in kinds:
        yield "from huggingface_hub import snapshot_download"
    yield "from peft import PeftModel"
    if RenameKeys in kinds:
        yield "from safetensors.torch import load_file, save_file"
    yield f"from transformers import {', '.join(sorted(classes))}"


def _load_base(step: LoadBase) -> list[str]:
    if not (step.auto_class.startswith(_AUTO_CLASS_PREFIX) and step.auto_class.isidentifier()):
        raise ValueError("The auto class of a plan is a class of transformers.")
    arguments = [*_place(step.repo_id, step.revision)]
    for name, value in step.kwargs.items():
        if not name.isidentifier():
            raise ValueError("The kwargs of a plan have plain names.")
        arguments.append(f"{name}={_dtype(value) if name == 'dtype' else _literal(value)}")
    return [
        f"base = {step.auto_class}.from_pretrained(",
        *(f"    {argument}," for argument in [*arguments, "use_safetensors=True"]),
        ")",
    ]


def _dtype(value: str | int) -> str:
    if not str(value).isidentifier():
        raise ValueError("The dtype of a plan is a name of torch.")
    return f"torch.{value}"


def _load_tokenizer(step: LoadTokenizer) -> list[str]:
    arguments = _place(step.repo_id, step.revision)
    if step.subfolder is not None:
        arguments.append(f"subfolder={_literal(step.subfolder)}")
    return [
        f"tokenizer = AutoTokenizer.from_pretrained({', '.join(arguments)})",
        f"assert len(tokenizer) == {step.length}, len(tokenizer)",
    ]


def _fill_rows(step: FillRows) -> list[str]:
    side = "input" if step.side == "input" else "output"
    return [
        "with torch.no_grad():",
        f"    rows = base.get_{side}_embeddings().weight",
        f"    mean = rows[:{step.first}].to(torch.float32).mean(dim=0)",
        f"    rows[{step.first}:{step.end}] = mean.to(rows.dtype)",
    ]


def _rename_keys(step: RenameKeys) -> list[str]:
    return [
        *_mapping("renames", step.renames),
        *_names("dropped", step.dropped),
        'tensors = load_file(source / "adapter_model.safetensors")',
        "prepared = Path(tempfile.mkdtemp())",
        "kept = {renames.get(name, name): t for name, t in tensors.items() if name not in dropped}",
        'save_file(kept, prepared / "adapter_model.safetensors")',
        'shutil.copy(source / "adapter_config.json", prepared)',
    ]


def _load_adapter(step: LoadAdapter) -> list[str]:
    arguments = ["base", *_place(step.repo_id, step.revision)]
    if step.subfolder is not None:
        arguments.append(f"subfolder={_literal(step.subfolder)}")
    return [
        "model = PeftModel.from_pretrained(",
        *(f"    {argument}," for argument in [*arguments, *_keywords(step)]),
        ").eval()",
    ]


def _load_renamed() -> list[str]:
    return ["model = PeftModel.from_pretrained(base, prepared).eval()"]


def _keywords(step: LoadAdapter) -> list[str]:
    if not all(name.isidentifier() for name in step.kwargs):
        raise ValueError("The kwargs of a plan have plain names.")
    return [f"{name}={_literal(value)}" for name, value in step.kwargs.items()]


def _with_adapter_source(body: list[str], plan: Plan) -> list[str]:
    """Where the adapter's own files are, for a plan that changes names in them."""
    kinds = {type(step) for step in plan.steps}
    load = next((step for step in plan.steps if isinstance(step, LoadAdapter)), None)
    if RenameKeys not in kinds or load is None:
        return body
    if load.revision.startswith(_LOCAL_COMMIT):
        source = f"source = Path({_literal(load.repo_id)})"
    else:
        arguments = [*_place(load.repo_id, load.revision), f"allow_patterns={_ADAPTER_FILES}"]
        source = f"source = Path(snapshot_download({', '.join(arguments)}))"
    if load.subfolder is not None:
        source += f" / {_literal(load.subfolder)}"
    return [source, *body]


def _place(repo_id: str, revision: str) -> list[str]:
    """A local folder has no revision that a library could be given."""
    if revision.startswith(_LOCAL_COMMIT):
        return [_literal(repo_id)]
    return [_literal(repo_id), f"revision={_literal(revision)}"]


def _literal(value: str | int | bool) -> str:
    return ascii(value)


def _mapping(name: str, entries: Mapping[str, str]) -> list[str]:
    lines = (f"    {_literal(old)}: {_literal(new)}," for old, new in sorted(entries.items()))
    return [f"{name} = {{", *lines, "}"]


def _names(name: str, entries: tuple[str, ...]) -> list[str]:
    return [f"{name} = [", *(f"    {_literal(entry)}," for entry in sorted(entries)), "]"]
