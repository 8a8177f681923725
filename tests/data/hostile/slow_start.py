"""A child that takes longer to begin than it is given for an answer."""

import time

from workers.child import protocol

SECONDS = 1.5

if __name__ == "__main__":
    time.sleep(SECONDS)
    protocol.serve_bytes(lambda data: data)
