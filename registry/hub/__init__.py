"""The only package that talks to the Hub: configs, headers and tokenizers, never weights.

reader, opening             what every reader offers; one reader for every source
client, bodies, throttle    one bounded, patient session
answers                     what the Hub's answers mean, as classes of `registry.errors`
hub_reader, hub_files       Hub repositories, every read pinned to one commit
snapshots, listing, links   a repository at one commit, and lists of repositories
mirrors                     endpoints that answer `resolve` alone
local, local_ids            folders of this machine, with the content ids that the Hub would give
checkpoints, weights        what to read of an adapter and of a base, in how few requests
tokenizers                  tokenizer facts, read once per content
pickled, patterns           what must not run in this process: pickles, and patterns of configs
digests                     what a checkpoint holds, as one digest
"""

from registry.hub.client import Timeouts, Traffic
from registry.hub.hub_reader import HubReader
from registry.hub.local import LocalReader
from registry.hub.opening import AnyReader, open_reader
from registry.hub.reader import ListedRepository, Reader
from registry.hub.snapshots import FileEntry, Snapshot
from registry.hub.throttle import Patience, Quota, Timing
from registry.hub.tokenizers import TokenizerCache

__all__ = [
    "AnyReader",
    "FileEntry",
    "HubReader",
    "ListedRepository",
    "LocalReader",
    "Patience",
    "Quota",
    "Reader",
    "Snapshot",
    "Timeouts",
    "Timing",
    "TokenizerCache",
    "Traffic",
    "open_reader",
]
