"""Many small adapters on the local Hub, each with content of its own, of few distinct shapes."""

from tests.cli.publishing import publish_base, tiny_base
from tests.data.adapters import Lora, lora_adapter
from tests.hub import LocalHub

RANKS = (4, 8, 16, 32)
TARGETS = (("q_proj", "v_proj"), ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def name_of(number: int) -> str:
    return f"many/adapter-{number:04d}"


def publish_many(hub: LocalHub, count: int) -> list[str]:
    """Adapters of one base; what tells their contents apart is `lora_alpha`."""
    publish_base(hub)
    base = tiny_base()
    names = []
    for number in range(count):
        rank, targets = RANKS[number % len(RANKS)], TARGETS[number % len(TARGETS)]
        lora = Lora(rank=rank, targets=targets, alpha=number + 1)
        hub.add_commit(name_of(number), lora_adapter(base, lora))
        names.append(name_of(number))
    return names


def publish_60(hub: LocalHub) -> None:
    publish_many(hub, 60)


def publish_2000(hub: LocalHub) -> None:
    publish_many(hub, 2000)
