"""`doctor --agreement` over the corpus and the demonstration's adapters: nothing disagrees."""

import pytest

from tests.data.build import populate
from tests.data.corpus import GATED

pytest.importorskip("peft", reason="needs the runner extra")


@pytest.fixture(scope="module")
def published(hub):
    return populate(hub)


def test_rules_and_library_agree_over_the_corpus(loadplan, published, hub):
    hub.set_gated(GATED, False)
    loadplan("scan", *published.values())
    # Its config names a folder of whoever trained it; the caller says which base that was.
    loadplan("check", published["gemma3-270m-local-base"], "--base", "google/gemma-3-270m")
    done = loadplan("doctor", "--agreement", "--json")
    found = done.document
    assert found["disagreements"] == []
    assert done.exit_code == 0
    assert found["rehearsed"] == len(published)
    assert found["refused_by_rehearsal"] == 0
    assert found["spoken_for"] > 0.9
