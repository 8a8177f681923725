"""Vocabulary rows: what the file pins, whether the base must be resized, which rows stay unfilled.

Rule 1: rows come from the file, per side, never from the tokenizer; up or down, never padded.
Rule 3: rows that no tensor of the file fills are padding, are filled with the mean, or make the
adapter unusable, depending on who uses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from registry.domain.issues import Issue, Severity, make_issue
from registry.domain.steps import FillRows, Side
from registry.domain.templates import generated_text
from registry.domain.tensors import Shape
from registry.domain.tokenizer import TokenizerFacts

# Model types of which a part keeps the old vocabulary after a resize (built with transformers 5.23
# and resized: what stayed behind).
RESIZE_LEAVES_BEHIND: Mapping[str, str] = {
    "blt": "the patcher's own tables",
    "deepseek_v4": "the table tid2eid",
    "fsmt": "output_projection",
    "nemotron_h_omni": "lm_head",
    "pi0": "the language model's embeddings",
    "xlstm": "the whole vocabulary: the model cannot be resized",
}


@dataclass(frozen=True)
class RowEvidence:
    """One tensor that pins the rows of a side; `rows` is the pinned number."""

    side: Side
    tensor: str
    shape: Shape
    rows: int


@dataclass(frozen=True)
class VocabularySide:
    """`base_rows` are the base's own; None when not known, or when the model has no such side.

    `filled` is True when a tensor of the file gives every row of the side its values.
    """

    side: Side
    base_rows: int | None
    base_shape: Shape | None
    evidence: tuple[RowEvidence, ...]
    filled: bool

    @property
    def file_rows(self) -> int | None:
        """The rows that the file pins, None without evidence or when it contradicts itself."""
        rows = {item.rows for item in self.evidence}
        return rows.pop() if len(rows) == 1 else None


@dataclass(frozen=True)
class TokenUse:
    """Who uses token ids: the tokenizer that the plan loads, the base's configs, the adapter.

    `own` tells whether the tokenizer is the adapter's. `base_ids` maps names of `*_token_id`
    members to their ids; `trained_ids` are `trainable_token_indices`.
    """

    tokenizer: TokenizerFacts | None
    own: bool
    base_ids: Mapping[str, tuple[int, ...]]
    trained_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class RowDecision:
    """`rows` is what the plan resizes to, None when it does not."""

    rows: int | None
    fills: tuple[FillRows, ...]
    issues: tuple[Issue, ...]


def decide_rows(
    input_side: VocabularySide,
    output_side: VocabularySide,
    tokens: TokenUse,
    model_type: str | None,
) -> RowDecision:
    """Rules 1 and 3 of the domain. Raises nothing; every refusal is an issue of severity error."""
    sides = (input_side, output_side)
    conflict = _find_conflict(sides)
    if conflict is not None:
        return RowDecision(None, (), (conflict,))
    rows = _resize_to(sides)
    issues: list[Issue] = []
    fills: tuple[FillRows, ...] = ()
    if rows is not None:
        issues += _describe_resize(sides, rows, model_type)
        fills, unfilled = _fill_rows(sides, rows, tokens)
        issues += unfilled
    issues += _check_ids(input_side, rows, tokens)
    return RowDecision(rows, fills, tuple(issues))


# --- rule 1 ------------------------------------------------------------------------------------


def _find_conflict(sides: tuple[VocabularySide, ...]) -> Issue | None:
    evidence = [item for side in sides for item in side.evidence]
    for side in sides:
        if len({item.rows for item in side.evidence}) > 1:
            return _conflict(evidence)
    evidenced = [side for side in sides if side.evidence]
    if all(_fits(side) for side in evidenced):
        return None
    if len({side.file_rows for side in evidenced}) > 1:
        return _conflict(evidence)
    return None


def _fits(side: VocabularySide) -> bool:
    """True when the file's rows are the base's own, or when the base's are not known."""
    return side.base_rows is None or side.file_rows == side.base_rows


def _conflict(evidence: Iterable[RowEvidence]) -> Issue:
    ordered = sorted(evidence, key=lambda item: (item.rows, item.tensor))
    figures = "; ".join(f"{item.tensor} pins {item.rows} {item.side} rows" for item in ordered)
    last = ordered[-1]
    return make_issue(
        "vocabulary-conflict",
        f"No single number of rows fits: {figures}.",
        tensor=last.tensor,
        file_shape=last.shape,
    )


def _resize_to(sides: tuple[VocabularySide, ...]) -> int | None:
    evidenced = [side for side in sides if side.evidence]
    if all(_fits(side) for side in evidenced):
        return None
    return evidenced[0].file_rows


def _describe_resize(
    sides: tuple[VocabularySide, ...], rows: int, model_type: str | None
) -> list[Issue]:
    changed = next(side for side in sides if side.evidence and not _fits(side))
    item = min(changed.evidence, key=lambda evidence: evidence.tensor)
    known = changed.base_rows or 0
    code = "vocabulary-grown" if rows > known else "vocabulary-shrunk"
    issues = [
        make_issue(
            code,
            f"The file has {rows} vocabulary rows, the base {known}: "
            f"the base is resized to exactly {rows} before the adapter is loaded.",
            tensor=item.tensor,
            file_shape=item.shape,
            base_shape=changed.base_shape,
        )
    ]
    if rows < 1:
        issues = [make_issue("empty-tensors", "The file's embeddings have no rows.")]
    left = RESIZE_LEAVES_BEHIND.get(model_type or "")
    if left is not None:
        issues.append(
            make_issue("resize-incomplete", f"A resize of {model_type} leaves {left} behind.")
        )
    return issues


# --- rule 3 ------------------------------------------------------------------------------------


def _fill_rows(
    sides: tuple[VocabularySide, ...], rows: int, tokens: TokenUse
) -> tuple[tuple[FillRows, ...], list[Issue]]:
    fills: list[FillRows] = []
    issues: list[Issue] = []
    for side in sides:
        if side.filled or side.base_rows is None or rows <= side.base_rows:
            continue
        first = side.base_rows
        if side.side == "input" and _all_trained(first, rows, tokens.trained_ids):
            continue
        fills.append(FillRows(side.side, first, rows))
        judge = _judge_input if side.side == "input" else _judge_output
        issue = judge(first, rows, tokens)
        if issue is not None:
            issues.append(issue)
    return tuple(fills), issues


def _all_trained(first: int, rows: int, trained: tuple[int, ...]) -> bool:
    """True when token deltas fill every new row. `rows` is a claim: never count up to it."""
    return len({i for i in trained if first <= i < rows}) == rows - first


def _judge_input(first: int, rows: int, tokens: TokenUse) -> Issue | None:
    """Rule 3 (c): ids that the tokenizer produces would be read from rows nobody trained."""
    known = _tokens_from(tokens.tokenizer, first)
    what = f"Input rows {first} to {rows - 1} are in no tensor of the file"
    if known is None:
        return make_issue(
            "new-rows-untrained",
            f"{what}, and the tokenizer's ids are not known; the plan fills them with the mean.",
            severity=Severity.WARNING,
        )
    if known.padding_only:
        return None
    return make_issue(
        "new-rows-untrained",
        f"{what}, and the tokenizer produces ids from {known.first} to {known.last}.",
        severity=Severity.ERROR,
    )


def _judge_output(first: int, rows: int, tokens: TokenUse) -> Issue:
    """Rule 3 (b): the new ids' logits come from rows nobody trained."""
    what = f"Output rows {first} to {rows - 1} are in no tensor of the file"
    needed = _must_emit(tokens, first, rows)
    if needed:
        return make_issue(
            "new-rows-untrained",
            f"{what}, but the model must be able to write {needed}.",
            severity=Severity.ERROR,
        )
    return make_issue(
        "new-rows-untrained",
        f"{what}; the plan fills them with the mean of the base's {first} rows.",
        severity=Severity.WARNING,
        fix="Follow the plan. To train them, save the output embeddings too.",
    )


def _must_emit(tokens: TokenUse, first: int, rows: int) -> str | None:
    """The end-of-sequence id, or a token of the chat template's generated part, if it is new."""
    for name, ids in sorted(tokens.base_ids.items()):
        if name.startswith("eos") and any(first <= i < rows for i in ids):
            return f"the end-of-sequence id {max(ids)}"
    if tokens.tokenizer is None:
        return None
    eos = tokens.tokenizer.special_tokens.get("eos_token")
    written = generated_text(tokens.tokenizer.chat_template or "")
    for token in tokens.tokenizer.added_tokens:
        if token.id is None or not first <= token.id < rows:
            continue
        if token.content == eos:
            return f"the end-of-sequence id {token.id}"
        if token.content and token.content in written:
            return f"id {token.id}, which the chat template makes it write"
    return None


@dataclass(frozen=True)
class _TokensAbove:
    """Token ids at or above a row; first is 0 and last -1 when there are none."""

    first: int
    last: int
    padding_only: bool


def _tokens_from(tokenizer: TokenizerFacts | None, first: int) -> _TokensAbove | None:
    """Who lies at or above id `first`; None when the tokenizer is not known."""
    if tokenizer is None or tokenizer.length is None:
        return None
    last = max(tokenizer.length - 1, tokenizer.largest_id or 0)
    if last < first:
        return _TokensAbove(0, -1, True)
    above = [token for token in tokenizer.added_tokens if token.id is None or token.id >= first]
    vocabulary = tokenizer.base_vocabulary_size
    listed = max((token.id for token in above if token.id is not None), default=last)
    pad = tokenizer.special_tokens.get("pad_token")
    other_roles = {text for role, text in tokenizer.special_tokens.items() if role != "pad_token"}
    padding_only = (
        bool(above)
        and listed == last
        and (vocabulary is None or vocabulary <= first)
        and pad is not None
        and pad not in other_roles
        and all(token.content == pad for token in above)
    )
    ids = [token.id for token in above if token.id is not None]
    return _TokensAbove(min(ids, default=first), last, padding_only)


def _check_ids(input_side: VocabularySide, rows: int | None, tokens: TokenUse) -> list[Issue]:
    """Every id in use must have a row once the plan is carried out."""
    final = input_side.base_rows if rows is None else rows
    if final is None:
        return []
    issues = []
    shrunk = rows is not None and input_side.base_rows is not None and rows < input_side.base_rows
    beyond = sorted(i for i in tokens.trained_ids if i < 0 or i >= final)
    if beyond:
        issues.append(
            make_issue(
                "token-index-out-of-range",
                f"trainable_token_indices names id {beyond[-1]}, but there are {final} rows.",
            )
        )
    if shrunk:
        for name, ids in sorted(tokens.base_ids.items()):
            if any(i >= final for i in ids):
                issues.append(
                    make_issue(
                        "token-index-out-of-range",
                        f"The base's {name} is {max(ids)}, but only {final} rows remain.",
                    )
                )
    above = _tokens_from(tokens.tokenizer, final)
    if above is not None and above.last >= final and (tokens.own or shrunk):
        issues.append(_judge_tokens(above, final, input_side, shrunk))
    return issues


def _judge_tokens(
    above: _TokensAbove, final: int, input_side: VocabularySide, shrunk: bool
) -> Issue:
    """The tokenizer reaches beyond the last row: rule 3 (a), or ids without a row."""
    if above.padding_only and not shrunk:
        return make_issue(
            "tokenizer-longer-than-rows",
            f"Only padding lies above the {final} rows (id {above.last}); no resize is needed.",
        )
    if input_side.evidence or shrunk:
        return make_issue(
            "token-index-out-of-range",
            f"The tokenizer's largest id is {above.last}, but there are {final} rows.",
        )
    return make_issue(
        "new-rows-untrained",
        f"The tokenizer produces ids up to {above.last}, the base has {final} rows, and the file "
        "holds none for the ids above.",
        severity=Severity.ERROR,
    )
