"""Request and response bodies of the JSON API, for validation and for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from registry.domain.refs import Reference, make_reference
from registry.errors import InvalidReference, InvalidRequest

RepoIdField = Annotated[str, Field(min_length=1, max_length=96, examples=["acme/chat-lora"])]
RevisionField = Annotated[str | None, Field(max_length=255, examples=["main"])]
SubfolderField = Annotated[str | None, Field(max_length=255)]
BaseField = Annotated[
    str | None, Field(max_length=400, examples=["meta-llama/Llama-2-7b-chat-hf@main"])
]


class PairRequest(BaseModel):
    """One adapter, and the base to judge it on when it is not the declared one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repo_id: RepoIdField
    revision: RevisionField = None
    subfolder: SubfolderField = None
    base: BaseField = None

    def reference(self) -> Reference:
        """Raises InvalidReference; a path is refused here, whatever the server's files hold."""
        return make_reference(self.repo_id, self.revision, self.subfolder)

    def base_reference(self) -> Reference | None:
        return parse_base(self.base)


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/adapter-not-recorded"])
    title: str
    status: int
    detail: str
    code: str
    fix: str | None = None
    request_id: str


class Checkpoint(BaseModel):
    source: str
    repo_id: str
    revision: str | None
    commit_sha: str | None
    digest: str | None
    subfolder: str | None = None


class IssueBody(BaseModel):
    model_config = ConfigDict(extra="allow")

    code: str
    severity: str
    message: str
    fix: str | None


class RecordBody(BaseModel):
    """Everything known of one pair of adapter and base."""

    adapter: Checkpoint
    base: Checkpoint | None
    status: str
    evidence: str
    facts: dict[str, Any]
    plan: dict[str, Any] | None
    issues: list[IssueBody]
    naive_load: dict[str, Any] | None
    proofs: list[dict[str, Any]]
    serving: list[dict[str, Any]]


class Summary(BaseModel):
    adapter: Checkpoint
    base: Checkpoint | None
    status: str
    evidence: str
    facts: dict[str, Any]
    issues: list[str]
    scanned_at: str


class PlanBody(BaseModel):
    adapter: Checkpoint
    base: Checkpoint | None
    status: str
    evidence: str
    plan: dict[str, Any] | None
    issues: list[IssueBody]


class TensorRow(BaseModel):
    name: str
    dtype: str
    shape: list[int]
    base_shape: list[int] | None
    differs: bool | None = Field(description="null when the base's shape is not known")


class PlanAnswer(BaseModel):
    request: PairRequest
    record: RecordBody | None
    problem: Problem | None


class BaseSummary(BaseModel):
    source: str
    repo_id: str
    adapters: int
    statuses: dict[str, int]
    scanned_at: str


class OperationBody(BaseModel):
    """Work that was asked for. `result_url` is set once it has succeeded."""

    id: str
    kind: str
    state: str = Field(examples=["queued", "running", "succeeded", "failed", "cancelled"])
    progress: dict[str, Any] | None
    result_url: str | None
    problem: Problem | None
    created_at: str
    started_at: str | None
    finished_at: str | None


def parse_base(text: str | None) -> Reference | None:
    """`repo[@revision]` from a query or body. Raises InvalidReference."""
    if text is None or text == "":
        return None
    head, at, revision = text.partition("@")
    if at and not revision:
        raise InvalidReference("The base has an empty revision after '@'.", field="base")
    return make_reference(head, revision or None)


def refuse_nul(**fields: str | None) -> None:
    """No text with NUL reaches the database. Raises InvalidRequest naming the field."""
    for name, value in fields.items():
        if value is not None and "\0" in value:
            raise InvalidRequest(f"{name} holds a NUL character.", field=name)
