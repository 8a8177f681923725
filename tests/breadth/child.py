"""Tries the model types that are named on standard input, one JSON line each, and answers so."""

from __future__ import annotations

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    # Whatever a library prints goes to the error stream, never between the answers.
    os.dup2(2, 1)
    import torch
    import transformers

    from tests.breadth.trial import try_type

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for line in sys.stdin:
        family, model_type = json.loads(line)
        answers.write(json.dumps(try_type(family, model_type).to_json()) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
