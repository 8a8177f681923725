"""What a chat template makes the model write."""

import pytest

from registry.domain.templates import generated_text

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{{ content }}{% endfor %}"
)
LLAMA_2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + ' </s>' }}"
    "{% endif %}{% endfor %}"
)
BLOCKS = (
    "{% for m in messages %}{{ '<u>' + m.content + '</u>' }}"
    "{% generation %}{{ m.content }}<done>{% endgeneration %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "written", "not_written"),
    [
        pytest.param(CHATML, "<|im_end|>", "<|im_start|>", id="ChatML"),
        pytest.param(LLAMA_3, "<|eot_id|>", "<|start_header_id|>", id="Llama 3"),
        pytest.param(LLAMA_2, "</s>", "[/INST]", id="roles compared with literals"),
        pytest.param(BLOCKS, "<done>", "</u>", id="generation blocks"),
    ],
)
def test_only_what_follows_an_answer_is_written_by_the_model(template, written, not_written):
    text = generated_text(template)
    assert written in text
    assert not_written not in text


def test_a_template_without_content_writes_nothing():
    assert generated_text("") == ""
    assert generated_text("{{ messages | tojson }}") == ""


def test_a_huge_template_is_cut():
    assert len(generated_text("{{ m.content }}" * 100_000)) < 1_000_000
