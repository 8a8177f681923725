"""Text of other people's making, made fit to be looked at: nothing unseen, nothing reordered."""

from __future__ import annotations

import re
from typing import Final

from markupsafe import Markup, escape

# Controls, marks that change the direction of what follows, signs without width, half characters.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_LONGEST: Final = 2_000


def visible_text(text: str) -> str:
    r"""The text with every character that cannot be seen written as `\u202e`, and an end to it."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}… ({len(text):,} characters)"
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown_value(value: object) -> object:
    """What every `{{ … }}` of a template passes through before it is escaped."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible_text(value)
    return value


def isolated(text: str | None) -> Markup:
    """A name whose direction of writing stays its own; an em dash for what is not known."""
    if text is None or text == "":
        return Markup("—")
    return Markup("<bdi>") + escape(visible_text(text)) + Markup("</bdi>")
