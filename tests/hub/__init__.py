"""A local Hub for tests, the demo and the bench: the real protocol on a loopback port."""

from tests.hub.content import Content, Hole, lfs_pointer
from tests.hub.faults import (
    Answer,
    Delay,
    Drop,
    Endless,
    Fault,
    Truncate,
    WholeFile,
    WrongRange,
    rate_limited,
)
from tests.hub.profiles import BARE, FULL, RESOLVE_ONLY, Profile
from tests.hub.quotas import Quotas
from tests.hub.request_log import LoggedRequest, RequestLog
from tests.hub.server import LocalHub

__all__ = [
    "BARE",
    "FULL",
    "RESOLVE_ONLY",
    "Answer",
    "Content",
    "Delay",
    "Drop",
    "Endless",
    "Fault",
    "Hole",
    "LocalHub",
    "LoggedRequest",
    "Profile",
    "Quotas",
    "RequestLog",
    "Truncate",
    "WholeFile",
    "WrongRange",
    "lfs_pointer",
    "rate_limited",
]
