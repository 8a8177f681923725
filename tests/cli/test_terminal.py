"""Text from repositories reaches a terminal spelled out."""

import json

import pytest

from registry.cli.terminal import clean, clean_lines, print_json, print_message

HOSTILE = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "c1": "\x9b31m",
    "backspace": "safe\x08\x08\x08\x08evil",
    "carriage return": "incompatible\rrehearsed   ",
    "right to left": "acme/\u202etxt.exe",
    "isolate": "a\u2066b\u2069",
    "zero width": "gp\u200bt2",
    "line separator": "a\u2028b",
    "nul": "a\x00b",
    "tag": "a\U000e0041b",
    "lone surrogate": "a\ud800b",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_spelled_out(text):
    shown = clean(text)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert "\\" in shown


def test_honest_text_of_any_script_is_left_as_it_is():
    for text in ("acme/chat-lora", "模型", "Größe 33004 × 4096", "नमस्ते"):
        assert clean(text) == text


def test_long_text_is_cut():
    assert len(clean("x" * 10_000)) == 2_000
    assert clean("x" * 10_000).endswith("…")


def test_of_many_lines_the_first_are_kept_and_the_rest_counted():
    assert clean_lines("a\n\nb\x1b") == ["a", "b\\x1b"]
    assert clean_lines("\n".join("abcdef"), lines=2) == ["a", "b", "… 4 more lines"]


def test_json_is_one_ascii_document_on_stdout(capsys):
    print_json({"name": HOSTILE["right to left"] + HOSTILE["colour"]})
    captured = capsys.readouterr()
    assert captured.out.isascii()
    assert "\x1b" not in captured.out
    assert json.loads(captured.out) == {"name": HOSTILE["right to left"] + HOSTILE["colour"]}
    assert captured.err == ""


def test_messages_go_to_stderr_with_what_to_do(capsys):
    print_message("error", "No \x1b[31mconnection.", "Check the network.")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: No \\x1b[31mconnection.\n  Check the network.\n"
