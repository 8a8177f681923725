"""How much of the protocol a local Hub speaks: all of it, or what some mirrors leave of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """Which parts of the protocol are spoken."""

    api: bool = True
    commit_header: bool = True
    ranges: bool = True
    redirects: bool = True


FULL = Profile()
# A mirror that answers `resolve` and nothing under /api, neither the file cache.
RESOLVE_ONLY = Profile(api=False)
# A mirror that sends every file whole and itself, and does not say of which commit.
BARE = Profile(commit_header=False, ranges=False, redirects=False)
