"""Runs the fuzzer over every operation of the OpenAPI document and prints what it met.

python -m tests.fuzz [--cases N] [--seed N]
"""

from __future__ import annotations

import argparse
import logging
import random

from registry import logs
from tests.fuzz.running import Outcome, fuzz, populated_service

# Made-up cases of each operation in one round; rounds go on, each with the next seed.
_EXAMPLES = 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=5_000, help="at least so many")
    parser.add_argument("--seed", type=int, default=None, help="of a run to repeat")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(2**31) if asked.seed is None else asked.seed
    print(f"seed {seed}")
    total = Outcome()
    with populated_service() as service:
        # A line for each of thousands of requests would hide the few that matter.
        logs.configure(logging.WARNING)
        while total.cases < asked.cases and not total.failures:
            found = fuzz(service, examples=_EXAMPLES, seed=seed)
            total.answers.update(found.answers)
            total.failures.update(found.failures)
            seed += 1
            print(f"{total.cases} cases, {len(total.failures)} failures")
    for status, count in total.statuses().items():
        print(f"{status}: {count}")
    for failure, command in total.failures.items():
        print(f"\n{failure}\n  {command}")
    return 1 if total.failures else 0


raise SystemExit(main())
