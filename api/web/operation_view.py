"""An operation as people watch it: its stages in words, how far it is, what it leads to."""

from __future__ import annotations

from typing import Any, Final

from api.web.render import address
from registry.db.operations import Operation, State

_TITLES: Final = {
    "scan": "Scan",
    "scan-batch": "Scan of a batch",
    "rehearse": "Rehearsal",
    "prove": "Proof",
    "crawl": "Crawl",
    "sweep": "Sweep",
    "deliver": "Delivery",
}
# Stage of `progress` -> what people read. A stage that is not here is shown as it is.
STAGE_WORDS: Final = {
    "waiting": "waiting to be tried again",
    "reading": "reading headers, configs and tokenizers",
    "planned": "planned; waiting for a rehearsal",
    "rehearsing": "rehearsing with the real PEFT, without weights",
    "fetching": "fetching weights",
    "loading": "loading the base",
    "proving": "proving with real weights",
    "done": "done",
}
_STAGES: Final = {
    "scan": (("queued",), ("reading", "waiting"), ("planned", "rehearsing")),
    "prove": (("queued",), ("fetching", "loading"), ("proving",)),
}
_HEADINGS: Final = {
    "scan": ("Queued", "Read and plan", "Rehearse"),
    "prove": ("Queued", "Fetch", "Prove"),
}


def show_operation(operation: Operation, *, open_to: bool = True) -> dict[str, Any]:
    """For people who may not see the record (`open_to` False) nothing of it is told."""
    state = operation.state
    progress = dict(operation.progress or {}) if open_to else {}
    stage = str(progress.get("stage", "reading" if state is State.RUNNING else "queued"))
    total, done = progress.get("total"), progress.get("done")
    counted = isinstance(total, int) and isinstance(done, int) and total > 1
    request = operation.request
    repo_id = str(request.get("repo_id", ""))
    title = _TITLES.get(operation.kind, operation.kind.capitalize())
    return {
        "id": operation.id,
        "kind": operation.kind,
        "title": f"{title} of {repo_id}" if repo_id else title,
        "state": state.value,
        "over": state.is_over,
        "said": _say(state, stage, f"{done:,} of {total:,}" if counted else ""),
        "stages": _stages(operation.kind, state, stage),
        "total": total if counted else None,
        "done": done if counted else None,
        "when": operation.finished_at or operation.started_at or operation.created_at,
        "created_at": operation.created_at,
        "started_at": operation.started_at,
        "finished_at": operation.finished_at,
        "attempts": operation.attempts,
        "problem": operation.problem if open_to and operation.problem else None,
        "result": _result(request),
        "request": dict(request),
    }


def _say(state: State, stage: str, count: str) -> str:
    match state:
        case State.QUEUED:
            return STAGE_WORDS[stage] if stage in ("waiting", "planned") else "waiting for a worker"
        case State.RUNNING:
            return f"{STAGE_WORDS.get(stage, stage)} {count}".strip()
        case State.SUCCEEDED:
            return "done"
        case State.FAILED:
            return "it did not come to an answer"
        case State.CANCELLED:
            return "cancelled; nothing was stored"


def _stages(kind: str, state: State, stage: str) -> list[dict[str, str]]:
    groups = _STAGES.get(kind, (("queued",), ()))
    words = _HEADINGS.get(kind, ("Queued", "Work"))
    now = next((place for place, names in enumerate(groups) if stage in names), 1)
    if state is State.QUEUED and stage == "queued":
        now = 0
    shown = []
    for place, word in enumerate(words):
        if state is State.SUCCEEDED or place < now:
            how = "done"
        elif place == now and not state.is_over:
            how = "now"
        else:
            how = "next"
        shown.append({"word": word, "state": how})
    last = "done" if state is State.SUCCEEDED else "next"
    return [*shown, {"word": "Recorded", "state": last}]


def _result(request: Any) -> str | None:
    repo_id = request.get("repo_id")
    if not isinstance(repo_id, str) or "/" not in repo_id:
        return None
    names = ("revision", "subfolder", "base")
    return address(f"/adapters/{repo_id}", **{name: request.get(name) for name in names})
