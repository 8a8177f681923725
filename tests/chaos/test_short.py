"""The kill tests in short form; `python -m tests.chaos` is the long one."""

import signal
import time

import pytest

from tests.chaos import harness
from tests.chaos.harness import Api, Asked, Crew
from tests.chaos.worker import INSIDE, OUTSIDE, Harm, Spec
from tests.engine.publishing import publish_60
from tests.hub.process import HubProcess

JOBS = 16


@pytest.fixture(scope="module")
def many_hub():
    with HubProcess(f"{publish_60.__module__}:{publish_60.__name__}") as hub:
        yield hub


@pytest.fixture
def spec(engine_url, many_hub, tmp_path):
    return Spec(engine_url, many_hub.url, str(tmp_path))


def test_whatever_is_killed_each_acknowledged_request_ends_once(spec, tmp_path):
    kills = [
        Harm(f"{queue}.{label}", visit=2)
        for queue in ("scan", "rehearse", "prove")
        for label in (*OUTSIDE[::2], *INSIDE)
    ]
    stops = [Harm(f"{queue}.saving", signal.SIGSTOP) for queue in ("scan", "rehearse", "prove")]
    api_harms = [Harm("api.asked", visit=3), Harm("api.committed", visit=3)]
    asked = Asked()
    started = time.monotonic()
    with harness.opened(spec.url) as (database, _):
        token = harness.make_bearer(database)
        with Api(spec, api_harms) as api, Crew(spec, kills + stops, size=3) as crew:
            harness.ask_scans(api.url, token, JOBS, asked)
            harness.await_over(database, asked.ids, 60)
            harness.ask_proofs(api.url, token, JOBS, asked)
            harness.await_over(database, asked.ids, 60)
            print(crew.harms_left, crew.killed, crew.continued, api.killed)
        print(harness.check_once(database, asked), time.monotonic() - started)
        assert crew.killed >= 4
        assert api.killed == 2
