"""Every page that there is, by the name that pictures of it have."""

from __future__ import annotations

from tests.web.populated import CANONICAL, HOSTILE, SECOND_BASE, Registry


def pages(registry: Registry) -> dict[str, str]:
    """Pages that everybody may see; those behind a token are `own_pages`."""
    adapter = f"/adapters/{CANONICAL}"
    bases = f"base_a=meta-llama/Llama-2-7b-chat-hf&base_b={SECOND_BASE}"
    return {
        "browse": "/",
        "browse-filtered": "/?status=rehearsed&q=lora",
        "browse-nothing": "/?q=no-such-adapter",
        "adapter": adapter,
        "adapter-incompatible": "/adapters/acme/chat-lora-conflicting",
        "adapter-blocked": "/adapters/corpus/llama32-1b",
        "adapter-failed-proof": "/adapters/acme/chat-lora-padded",
        "adapter-of-many-modules": "/adapters/corpus/roberta-agnews-bias-all",
        "adapter-hostile": f"/adapters/{HOSTILE}",
        "compare-revisions": f"{adapter}/compare?a={registry.first_commit}&b=main",
        "compare-bases": f"{adapter}/compare?{bases}",
        "bases": "/bases",
        "base": "/bases/meta-llama/Llama-2-7b-chat-hf",
        "base-moved": "/bases/gpt2",
        "operation": f"/operations/{registry.operation_id}",
        "status": "/status",
        "problems": "/problems",
        "problem": "/problems/vocabulary-grown",
        "docs": "/docs",
        "sign-in": "/sign-in",
        "not-found": "/adapters/nobody/nothing",
    }


def own_pages() -> dict[str, str]:
    """Pages of who has signed in."""
    return {
        "account": "/account",
        "ask": "/ask",
        "subscriptions": "/subscriptions",
        "adapter-private": "/adapters/closed/secret-lora",
    }
