"""What happens on the Hub, and telling those who asked to be told.

receiving   the webhook's body in one transaction
settling    events looked up again: adapters scanned, changed bases, proofs that are owed anew
sweeping    listings of the Hub, which find whatever no event told of
telling     failures announced to subscribers
"""

from registry.watching.receiving import Received, receive
from registry.watching.settling import pay_proofs, settle_events
from registry.watching.sweeping import Scope, Swept, parse_scope, retry_failed, sweep
from registry.watching.telling import announce_failures

__all__ = [
    "Received",
    "Scope",
    "Swept",
    "announce_failures",
    "parse_scope",
    "pay_proofs",
    "receive",
    "retry_failed",
    "settle_events",
    "sweep",
]
