"""Advice to who trained the adapter, with this adapter's own figures."""

from __future__ import annotations

from registry.domain.issues import Issue, make_issue
from registry.domain.sizes import Sizes

# Above these an adapter is no longer a small change of the base.
HIGH_RANK = 128
_HIGH_FRACTION = 0.05
_USUAL_RANK = 16
_MEGABYTE = 1_000_000


def advise(sizes: Sizes, new_rows: int) -> list[Issue]:
    """`new_rows` is how many vocabulary rows the adapter has beyond the base's."""
    issues: list[Issue] = []
    rank = sizes.largest_rank
    if rank is not None and _is_high(rank, sizes.fraction):
        issues.append(make_issue("rank-high", _describe_rank(sizes, rank)))
    if sizes.full_tensors:
        share = sizes.full_bytes / sizes.file_bytes if sizes.file_bytes else 0.0
        issues.append(
            make_issue(
                "full-embeddings-saved",
                f"{len(sizes.full_tensors)} whole vocabulary matrices take "
                f"{_megabytes(sizes.full_bytes)} of {_megabytes(sizes.file_bytes)} ({share:.0%}) "
                "in this file.",
                tensor=min(sizes.full_tensors),
            )
        )
    if new_rows > 0:
        issues.append(
            make_issue(
                "new-tokens-need-training",
                f"The adapter has {new_rows} vocabulary rows that the base does not have; they "
                "start without meaning and need text that uses them.",
            )
        )
    return issues


def _is_high(rank: int, fraction: float | None) -> bool:
    return rank > HIGH_RANK or (rank > _USUAL_RANK and (fraction or 0.0) >= _HIGH_FRACTION)


def _describe_rank(sizes: Sizes, rank: int) -> str:
    if sizes.trainable is None or sizes.fraction is None:
        return f"Rank {rank} is far above the usual 8 or 16."
    return (
        f"Rank {rank} trains {sizes.trainable:,} of {sizes.everything:,} parameters "
        f"({sizes.fraction:.2%})."
    )


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:,.1f} MB"
