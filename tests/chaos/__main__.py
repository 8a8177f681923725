"""`python -m tests.chaos`: the kill tests in long form, on SQLite and on PostgreSQL.

200 scans, rehearsals and proofs on each, asked for through an API that is killed, done by workers
that are killed or stopped at every point there is, and on PostgreSQL with the server stopped hard
every few seconds. Last, the pace of the product's own heartbeat is measured.
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from migrations.upgrade import upgrade
from registry.jobs import prepare
from tests.chaos import harness
from tests.chaos.cluster import Cluster, find_binaries
from tests.chaos.harness import Api, Asked, Crew
from tests.chaos.worker import INSIDE, OUTSIDE, Harm, Spec
from tests.data.bearers import make_bearer
from tests.engine.publishing import publish_many
from tests.hub.process import HubProcess
from tests.hub.server import LocalHub
from workers.liveness import Pulse

JOBS = 200
# Slow enough that the workers come to all their harms before the work is done.
_PAUSE = 0.25
_STOP_EVERY = 12.0
# A worker with a harm lives on until it comes to its point: more is asked for until all have.
_MOST_TURNS, _MORE = 15, 40


def publish(hub: LocalHub) -> None:
    publish_many(hub, JOBS + _MOST_TURNS * _MORE)


def harms_of(chance: random.Random, *queues: str, stops_inside: bool) -> list[Harm]:
    """Each label of these queues by SIGKILL twice and by SIGSTOP once, in an order of chance.

    A stopped process that holds an SQLite file locked holds everybody: there it is stopped where
    it holds nothing. PostgreSQL ends its transaction.
    """
    harms = []
    for queue in queues:
        for label in (*OUTSIDE, *INSIDE):
            name = f"{queue}.{label}"
            harms += [Harm(name, visit=chance.randint(1, 3)) for _ in range(2)]
            if label in OUTSIDE or stops_inside:
                harms.append(Harm(name, signal.SIGSTOP, chance.randint(1, 3)))
    chance.shuffle(harms)
    return harms


@contextmanager
def stopping(cluster: Cluster | None, ended: threading.Event):
    """Stop the database hard every few seconds."""
    stops = []

    def keep() -> None:
        while cluster is not None and not ended.wait(_STOP_EVERY):
            cluster.stop_hard()
            time.sleep(1)
            cluster.start()
            stops.append(1)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield stops
    finally:
        ended.set()
        thread.join()


def storm(spec: Spec, cluster: Cluster | None, seed: int) -> None:
    chance = random.Random(seed)
    inside = cluster is not None
    scan_harms = harms_of(chance, "scan", "rehearse", stops_inside=inside)
    proof_harms = harms_of(chance, "prove", stops_inside=inside)
    api_harms = [
        Harm(name, visit=chance.randint(2, 12)) for name in ("api.asked", "api.committed") * 4
    ]
    asked, started, ended = Asked(), time.monotonic(), threading.Event()
    with harness.opened(spec.url) as (database, _):
        token = make_bearer(database, "chaos", ("scan", "prove"))
        with Api(spec, api_harms) as api, stopping(cluster, ended) as stops:
            with Crew(spec, scan_harms, size=3, sleep=6.0) as scanners:
                # Known content is not rehearsed again, so more is more adapters.
                for turn in _turns(scanners):
                    numbers = range(JOBS + _MORE * (turn - 1), JOBS + _MORE * turn)
                    numbers = numbers if turn else range(JOBS)
                    harness.ask_scans(api.url, token, numbers, asked, pause=_PAUSE)
                    harness.await_over(database, asked.ids, 300)
            with Crew(spec, [], size=3):
                # A scan that was killed too often has failed, and there is nothing to prove.
                harness.ask_scans(api.url, token, range(JOBS), asked, turn=1)
                harness.await_over(database, asked.ids, 300)
            with Crew(spec, proof_harms, size=3, sleep=6.0) as provers:
                for turn in _turns(provers):
                    numbers = range(_MORE if turn else JOBS)
                    harness.ask_proofs(api.url, token, numbers, asked, pause=_PAUSE, turn=turn)
                    harness.await_over(database, asked.ids, 300)
        states = harness.check_once(database, asked)
        crews = (scanners, provers)
        unmet = [*scanners.unmet, *provers.unmet]
        print(
            f"{database.dialect}: {dict(states)} of {len(asked.ids)} acknowledged; workers killed "
            f"{sum(crew.killed for crew in crews)}, stopped and continued "
            f"{sum(crew.continued for crew in crews)}, API killed {api.killed}, "
            f"database stopped {len(stops)} times, {time.monotonic() - started:.0f} s",
            flush=True,
        )
        assert not unmet, f"no worker came to {unmet}"


def _turns(crew: Crew) -> Iterator[int]:
    """One turn for all the work, and further ones while there are harms that no worker met."""
    yield 0
    for turn in range(1, _MOST_TURNS + 1):
        if not crew.unmet:
            return
        yield turn


def measure_takeover(spec: Spec) -> None:
    """One worker dies at its first job; how long until another one has done it."""
    paced = replace(spec, pulse=Pulse())
    asked = Asked()
    with harness.opened(spec.url) as (database, _):
        token = make_bearer(database, "chaos", ("scan", "prove"))
        with Api(spec, []) as api, Crew(paced, [Harm("scan.taken")], size=1) as crew:
            harness.ask_scans(api.url, token, range(1), asked)
            harness.await_true(lambda: crew.killed == 1, 60)
            died = time.monotonic()
            harness.await_over(database, asked.ids, 60)
            seconds = time.monotonic() - died
        print(f"{database.dialect}: a dead worker's job was done by another after {seconds:.1f} s")
        assert seconds < 60


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loadplan-chaos-")))
        hub = stack.enter_context(HubProcess("tests.chaos.__main__:publish"))
        if given.only != "postgresql":
            for name, run in (("storm", storm), ("pace", None)):
                url = f"sqlite:///{folder / name}.db"
                upgrade(url)
                prepare(url)
                spec = Spec(url, hub.url, str(folder))
                measure_takeover(spec) if run is None else run(spec, None, given.seed)
        if given.only != "sqlite":
            if find_binaries() is None:
                raise SystemExit("no initdb on this machine: PostgreSQL was not tried")
            for name, run in (("storm", storm), ("pace", None)):
                with Cluster(folder / f"cluster-{name}") as cluster:
                    upgrade(cluster.url)
                    prepare(cluster.url)
                    spec = Spec(cluster.url, hub.url, str(folder))
                    if run is None:
                        measure_takeover(spec)
                    else:
                        run(spec, cluster, given.seed)


if __name__ == "__main__":
    main()
