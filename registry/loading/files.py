"""The folders that hold the base's and the adapter's files, and which files may be in them.

No torch here: the process that fetches for a proof has the network and no device.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from registry.domain.refs import looks_local, shown
from registry.domain.steps import LoadAdapter, LoadBase, LoadTokenizer
from registry.errors import (
    FileInvalid,
    FileNotFound,
    HubError,
    HubUnreachable,
    RepositoryGated,
    RepositoryNotFound,
    RevisionNotFound,
)

# Everything else stays on the Hub: no pickles, no code, no other framework's weights.
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
_CONFIGS = ("config.json", "generation_config.json", "preprocessor_config.json")
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "target.spm",
    "chat_template.jinja",
)
BASE_FILES = (*_WEIGHTS, *_CONFIGS, *_TOKENIZER)
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", *_TOKENIZER)


@dataclass(frozen=True)
class Access:
    """How the Hub is reached; None leaves a value to huggingface_hub's own settings."""

    token: str | None = None
    cache: Path | None = None
    endpoint: str | None = None


def base_folder(step: LoadBase, access: Access) -> Path:
    """The base's files of the allow-list at the plan's commit. Raises HubError."""
    return _snapshot(step.repo_id, step.revision, BASE_FILES, access)


def adapter_folder(step: LoadAdapter, access: Access) -> Path:
    """The folder of the adapter itself, its sub-folder included. Raises HubError."""
    patterns: tuple[str, ...] = ADAPTER_FILES
    if step.subfolder:
        patterns = tuple(f"{_literal(step.subfolder)}/{name}" for name in ADAPTER_FILES)
    folder = _snapshot(step.repo_id, step.revision, patterns, access)
    return inside(folder, step.subfolder)


def tokenizer_folder(step: LoadTokenizer, access: Access) -> Path:
    """The folder of the tokenizer, its sub-folder included. Raises HubError."""
    patterns: tuple[str, ...] = (*_TOKENIZER, "config.json")
    if step.subfolder:
        patterns = tuple(f"{_literal(step.subfolder)}/{name}" for name in patterns)
    folder = _snapshot(step.repo_id, step.revision, patterns, access)
    return inside(folder, step.subfolder)


def inside(folder: Path, subfolder: str | None) -> Path:
    """A sub-folder that really lies inside. Raises FileInvalid for a name that leads out."""
    if not subfolder:
        return folder
    if not is_safe_name(subfolder):
        raise FileInvalid(f"{shown(subfolder)} is not a sub-folder.")
    return folder / subfolder


def is_safe_name(name: str) -> bool:
    """True for a relative path of plain segments: nothing that leaves its folder."""
    return (
        name.isprintable()
        and "\\" not in name
        and all(part not in ("", ".", "..") for part in name.split("/"))
    )


def is_allowed(name: str, allowed: Iterable[str]) -> bool:
    """Whether a repository's file is one that we take: a safe name that fits the allow-list."""
    return is_safe_name(name) and any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed)


def _literal(name: str) -> str:
    """A sub-folder's name inside a pattern, its own pattern characters taken as they stand."""
    if not is_safe_name(name):
        raise FileInvalid(f"{shown(name)} is not a sub-folder.")
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _snapshot(repo_id: str, revision: str, patterns: Iterable[str], access: Access) -> Path:
    if looks_local(repo_id):
        folder = Path(repo_id)
        if not folder.is_dir():
            raise FileNotFound(f"There is no folder {shown(repo_id)}.")
        return folder
    try:
        return Path(
            snapshot_download(
                repo_id,
                revision=revision,
                allow_patterns=list(patterns),
                cache_dir=access.cache,
                token=access.token,
                endpoint=access.endpoint,
            )
        )
    except GatedRepoError as error:
        raise RepositoryGated(f"{repo_id} is gated.") from error
    except RevisionNotFoundError as error:
        raise RevisionNotFound(f"{repo_id} has no revision {shown(revision)}.") from error
    except RepositoryNotFoundError as error:
        raise RepositoryNotFound(f"{repo_id} was not found.") from error
    except LocalEntryNotFoundError as error:
        raise HubUnreachable(f"{repo_id} could not be fetched and is not cached.") from error
    except EntryNotFoundError as error:
        raise FileNotFound(f"A file of {repo_id} was not found.") from error
    except HfHubHTTPError as error:
        raise HubError(f"{repo_id} could not be fetched: {shown(str(error))}.") from error
