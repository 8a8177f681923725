"""Structured logs: one JSON object per line on stderr, secrets taken out, no local values."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

# Tokens of the Hub, of ours and of webhooks, and passwords inside URLs.
_SECRETS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|lp_[A-Za-z0-9]{8,}|whsec_[A-Za-z0-9+/=]{8,})"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
    r"|(?i:(?<=bearer )\S+)"
)
_SECRET_NAMES = frozenset({"authorization", "token", "secret", "password", "cookie"})


def redact(text: str) -> str:
    """The text without anything that looks like a secret."""
    return _SECRETS.sub("[redacted]", text)


def configure(level: int = logging.INFO) -> None:
    """Set up structlog and the standard library's loggers for this process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Frames and lines only: locals hold tokens, paths and other people's names.
        structlog.processors.format_exc_info,
        _without_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(ensure_ascii=False)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # One line per request that we make ourselves is noise.
    for name in ("httpx2", "httpcore2", "aiohttp.access", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _without_secrets(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any]:
    return {name: _clean(name, value) for name, value in event.items()}


def _clean(name: str, value: Any) -> Any:
    if name.lower() in _SECRET_NAMES:
        return "[redacted]"
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(name, inner) for inner in value]
    return value
