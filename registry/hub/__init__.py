"""The only package that talks to the Hub: configs, headers and tokenizers, never weights.

client, throttle, answers   one bounded, patient session; what the Hub's answers mean
snapshots, listing          a repository at one commit, and lists of repositories
checkpoints, weights        what to read of an adapter and of a base, in how few requests
tokenizers                  tokenizer facts, read once per content
pickled                     shapes out of a .bin without executing or downloading it
local, local_ids            the same for folders of this machine
mirrors                     endpoints that answer `resolve` alone
digests                     what a checkpoint holds, as one digest
"""

from registry.hub.client import Timeouts, Traffic
from registry.hub.hub_reader import HubReader
from registry.hub.local import LocalReader
from registry.hub.opening import AnyReader, open_reader
from registry.hub.reader import ListedRepository, Reader
from registry.hub.snapshots import FileEntry, Snapshot
from registry.hub.throttle import Patience, Timing
from registry.hub.tokenizers import TokenizerCache

__all__ = [
    "AnyReader",
    "FileEntry",
    "HubReader",
    "ListedRepository",
    "LocalReader",
    "Patience",
    "Reader",
    "Snapshot",
    "Timeouts",
    "Timing",
    "TokenizerCache",
    "Traffic",
    "open_reader",
]
