"""Towers: the parts of a model that text alone does not reach, exercised with one dummy image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from peft import PeftModel

from workers.child.probes import ProbeSite

_WORDS = ("vision", "visual", "image", "audio", "speech", "video", "multi_modal", "mm_projector")


def is_tower(name: str) -> bool:
    """Whether a module belongs to such a part, by its path."""
    return any(word in name for word in _WORDS)


def show_image(model: PeftModel, site: ProbeSite) -> torch.Tensor | None:
    """The features of a dummy image; None for models that take images in another way.

    Only the common interface is used: `get_image_features(pixel_values=…)` and a vision config
    with image size and channels.
    """
    base: Any = model.get_base_model()
    vision = getattr(site.config, "vision_config", None)
    size = getattr(vision, "image_size", None)
    if not hasattr(base, "get_image_features") or not isinstance(size, int):
        return None
    shape = (1, int(getattr(vision, "num_channels", 3) or 3), size, size)
    steps = torch.linspace(-1.0, 1.0, shape[1] * size * size, device=site.device)
    pixels = steps.view(shape).to(base.dtype)
    try:
        with torch.no_grad():
            features = base.get_image_features(pixel_values=pixels)
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError):
        return None
    tensors = list(_tensors(features))
    return torch.cat([tensor.flatten().float() for tensor in tensors]) if tensors else None


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
