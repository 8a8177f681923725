"""One number per tensor, cheap enough to take of a whole base after every proof."""

from __future__ import annotations

from collections.abc import Mapping

import torch

_WORD_BYTES = 8
_COLUMNS = 1021
_CHUNK = _COLUMNS << 14
_MASK = (1 << 64) - 1
_MULTIPLIER = 6_364_136_223_846_793_005


def fingerprint(tensor: torch.Tensor) -> int:
    """A number of the tensor's bits that depends on where they stand, for telling changes.

    Equal tensors have equal numbers on whatever device: integer sums wrap the same everywhere, in
    any order. A change of one element always changes it. Not for adversaries: nothing here is
    secret, and no one gains by a collision.
    """
    flat = tensor.detach().contiguous().view(-1).view(torch.uint8)
    words = int(flat.numel()) // _WORD_BYTES
    total = int(flat.numel())
    for start in range(0, words, _CHUNK):
        part = _read_words(flat[start * _WORD_BYTES : min(start + _CHUNK, words) * _WORD_BYTES])
        whole = part.numel() // _COLUMNS * _COLUMNS
        sums = part[:whole].view(-1, _COLUMNS).sum(dim=0).tolist()
        sums[0 : part.numel() - whole] = [
            left + right for left, right in zip(sums, part[whole:].tolist(), strict=False)
        ]
        for value in sums:
            total = (total * _MULTIPLIER + value) & _MASK
    for value in flat[words * _WORD_BYTES :].tolist():
        total = (total * _MULTIPLIER + value + 1) & _MASK
    return total


def _read_words(octets: torch.Tensor) -> torch.Tensor:
    """Eight bytes at a time; a tensor inside a file's mapping may begin anywhere."""
    if octets.storage_offset() % _WORD_BYTES or octets.data_ptr() % _WORD_BYTES:
        octets = octets.clone()
    return octets.view(torch.int64)


def fingerprints(tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """The fingerprint of each; a tensor of two names is read once."""
    seen: dict[int, int] = {}
    result: dict[str, int] = {}
    for name, tensor in tensors.items():
        if id(tensor) not in seen:
            seen[id(tensor)] = fingerprint(tensor)
        result[name] = seen[id(tensor)]
    return result
