"""What a chat template makes the model write: the text that follows an answer's content."""

from __future__ import annotations

import re
from itertools import islice

# `message['content']`, `message["content"]`, `message.content`, however the variable is called.
_CONTENT = re.compile(r"""\[\s*['"]content['"]\s*\]|\.content\b""")
_ROLE = re.compile(r"""==\s*['"](\w+)['"]""")
_BLOCK = re.compile(r"{%-?\s*generation\s*-?%}(.*?){%-?\s*endgeneration\s*-?%}", re.DOTALL)
_ANSWERING = frozenset({"assistant", "model", "gpt", "bot"})
# A template is somebody's text: what lies beyond is not looked at. A turn is a line or two.
_LIMIT = 100_000
_TURN = 2_000
_MAX_TURNS = 64


def generated_text(template: str) -> str:
    """The parts of a Jinja chat template that the model itself must produce, joined.

    These are the `{% generation %}` blocks where a template has them; else what stands between an
    answer's content and the next statement, such as `<|im_end|>`. Turns of another role are left
    out as far as the template compares the role with a literal.
    """
    template = template[:_LIMIT]
    blocks = _BLOCK.findall(template)
    if blocks:
        return "\n".join(blocks)
    parts = []
    for match in islice(_CONTENT.finditer(template), _MAX_TURNS):
        if _is_answer(template, match.start()):
            parts.append(_until_statement(template, match.end()))
    return "\n".join(parts)


def _is_answer(template: str, position: int) -> bool:
    """False where the turn is known to be somebody else's."""
    before = template[max(position - _TURN, 0) : position]
    if "role" in before.rpartition("%}")[2]:
        return True
    roles = _ROLE.findall(before)
    return not roles or roles[-1] in _ANSWERING


def _until_statement(template: str, position: int) -> str:
    turn = template[position : position + _TURN]
    return turn.partition("{%")[0].partition("%}")[0]
