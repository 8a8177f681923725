"""A child that is already lost: it runs whatever code it is sent, confined as every other child.

What the code leaves in `result` is the answer, as JSON.
"""

import json

from workers.child import protocol


def run(code: bytes) -> bytes:
    names: dict[str, object] = {"__name__": "hostile", "result": None}
    exec(compile(code, "<hostile>", "exec"), names)
    return json.dumps(names["result"]).encode()


if __name__ == "__main__":
    protocol.serve_bytes(run)
