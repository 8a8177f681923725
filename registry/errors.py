"""The error tree: what kept us from an answer. A stable `code` and fields, no HTTP, no SQL.

An adapter that does not fit its base is an answer, not an error (see `registry.domain.issues`).
The docstring of a class is its default message; `fix` says what the reader can do.
"""

from __future__ import annotations

from typing import ClassVar


class LoadplanError(Exception):
    """Something kept us from answering."""

    code: ClassVar[str] = "internal-error"
    fix: ClassVar[str] = "Report it with the request id."

    def __init__(self, message: str | None = None, **fields: object) -> None:
        self.message = message or (type(self).__doc__ or "").strip().split("\n")[0]
        self.fields = fields
        super().__init__(self.message)


# --- what the caller wrote ---------------------------------------------------------------------


class InvalidRequest(LoadplanError):
    """The request cannot be read as what this call takes."""

    code = "invalid-request"
    fix = "Correct the named field and ask again."


class InvalidReference(InvalidRequest):
    """The reference is not `namespace/name[@revision][:subfolder]`."""

    fix = "Write namespace/name, optionally @revision and :subfolder, or (command line) ./folder."


class TargetNotAllowed(InvalidRequest):
    """The webhook target is not a public https address."""

    code = "target-not-allowed"
    fix = "Name an https URL on a public host, port 443 or 8443."


class SettingInvalid(LoadplanError):
    """A setting is unknown or cannot be read."""

    code = "setting-invalid"
    fix = "Compare the name and value with the settings in the README."


# --- what the Hub answered ---------------------------------------------------------------------


class HubError(LoadplanError):
    """The Hub answered with an error."""

    code = "hub-error"
    fix = "Try again later; the earlier record, if there is one, still stands."


class TransientHubError(HubError):
    """The Hub could not answer now; the same request may succeed later."""


class HubUnreachable(TransientHubError):
    """No connection to the Hub could be made."""

    code = "hub-unreachable"
    fix = "Check the network and HF_ENDPOINT, then ask again."


class HubRateLimited(TransientHubError):
    """The Hub's request quota is used up."""

    code = "hub-rate-limited"
    fix = "Wait for the time given, or set HF_TOKEN for a larger quota."

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.retry_after = retry_after


class HubMirrorLimited(HubError):
    """This mirror does not offer the routes needed to read the repository."""

    code = "hub-mirror-limited"
    fix = "Set HF_ENDPOINT to the Hub itself, or to a mirror with the API and range requests."


class RepositoryNotFound(HubError):
    """The repository does not exist, or is private to a token we do not have."""

    code = "repository-not-found"
    fix = "Check the name; for a private repository set HF_TOKEN."


class RevisionNotFound(HubError):
    """The repository has no such revision."""

    code = "revision-not-found"
    fix = "Name a branch, tag or commit that the repository has."


class RepositoryGated(HubError):
    """The repository is gated and this token has no access."""

    code = "repository-gated"
    fix = "Accept the repository's terms on the Hub and set HF_TOKEN."


class RepositoryDisabled(HubError):
    """The Hub has disabled access to the repository."""

    code = "repository-disabled"
    fix = "Nothing can be done from here; the Hub's page of the repository says why."


class FileNotFound(HubError):
    """The repository has no such file at this commit."""

    code = "file-not-found"
    fix = "Check the path and the commit."


# --- what a file held --------------------------------------------------------------------------


class FileInvalid(LoadplanError):
    """A file of the checkpoint cannot be read."""

    code = "file-invalid"
    fix = "Publish the file again."


class HeaderInvalid(FileInvalid):
    """The safetensors header breaks a rule of the format."""

    code = "header-invalid"
    fix = "Save the weights again with safetensors and upload the new file."


class WeightsTruncated(HeaderInvalid):
    """The safetensors file ends before its last tensor."""

    code = "weights-truncated"
    fix = "Upload the weights again; the upload broke off."


class WeightsLfsPointer(HeaderInvalid):
    """The weights file is a Git LFS pointer, not the weights."""

    code = "weights-lfs-pointer"
    fix = "Run `git lfs pull` where the adapter was saved and upload the real file."


class WeightsPickleUnsafe(FileInvalid):
    """The pickle wants to do more than rebuild tensors."""

    code = "weights-pickle-unsafe"
    fix = "Do not load it. Ask the author for a safetensors file."


class ConfigInvalid(FileInvalid):
    """The config file is not what its name says."""

    code = "config-invalid"
    fix = "Save the config again with PEFT (save_pretrained)."


class ForeignFormat(ConfigInvalid):
    """The file belongs to another tool than PEFT."""

    code = "foreign-format"
    fix = "Load it with the tool it is for, or convert it to PEFT's format."


class NotAPeftAdapter(ConfigInvalid):
    """The repository holds no PEFT adapter."""

    code = "not-a-peft-adapter"
    fix = "Name a repository or sub-folder that holds an adapter_config.json."


class TokenizerInvalid(FileInvalid):
    """The tokenizer files cannot be read."""

    code = "tokenizer-unknown"
    fix = "Save the tokenizer again with tokenizer.save_pretrained."


class PatternTooSlow(FileInvalid):
    """A pattern of the config took longer to match than we allow."""

    code = "config-pattern-too-slow"
    fix = "Replace the pattern in target_modules by a list of module names."


# --- our own side ------------------------------------------------------------------------------


class DatabaseNotMigrated(LoadplanError):
    """The database is not at the migration that this version needs."""

    code = "database-not-migrated"
    fix = "Run `loadplan migrate`."


class DatabaseUnavailable(LoadplanError):
    """The database does not answer."""

    code = "database-unavailable"
    fix = "Check LOADPLAN_DATABASE_URL and that the server runs."


class ChildFailed(LoadplanError):
    """A sandboxed program ended without an answer."""

    code = "child-failed"
    fix = "Ask again; a program that dies each time is a fault to report."


class ChildTimedOut(ChildFailed):
    """A sandboxed program was still at work at its deadline, and was ended."""


class ChildOutOfMemory(ChildFailed):
    """A sandboxed program needed more memory than it is given."""


class RunnerMissing(LoadplanError):
    """This installation has no torch, so it can neither rehearse nor prove."""

    code = "runner-missing"
    fix = "Install the extra: pip install 'loadplan[runner]'."


class SandboxMissing(LoadplanError):
    """No sandbox is at hand, and the operator has not said that the container is one."""

    code = "sandbox-missing"
    fix = "Install bubblewrap, or set LOADPLAN_SANDBOX=process inside a container."


class PlanMismatch(LoadplanError):
    """The loaded model is not what the plan says."""

    code = "plan-mismatch"
    fix = "Do not serve it. Scan the adapter again and compare the three sets."


# --- what a loadplan server answered -----------------------------------------------------------


class ServerUnreachable(LoadplanError):
    """The loadplan server does not answer."""

    code = "server-unreachable"
    fix = "Check LOADPLAN_SERVER and that the service runs."


class ServerRefused(LoadplanError):
    """The loadplan server refused the request."""

    code = "server-refused"
    fix = "Read the problem's own page on the server: /problems/{code}."

    def __init__(
        self, message: str, *, problem_code: str, status: int, problem: dict[str, object]
    ) -> None:
        super().__init__(message, problem_code=problem_code, status=status)
        self.problem_code = problem_code
        self.status = status
        self.problem = problem


class RequirementNotMet(LoadplanError):
    """The record does not meet what was required of it."""

    code = "requirement-not-met"
    fix = "Read the issues; ask for a proof, or require less."
