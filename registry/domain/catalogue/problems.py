"""Codes that never stand in a record: what kept the command line or the API from answering."""

from __future__ import annotations

from registry.domain.catalogue.kinds import IssueKind, Severity

_USAGE, _REFUSED, _SERVICE = 2, 4, 5


def _problem(code: str, exit_code: int, title: str, cause: str, fix: str) -> IssueKind:
    return IssueKind(code, Severity.ERROR, None, exit_code, title, cause, fix)


API_PROBLEMS = (
    _problem(
        "invalid-request",
        _USAGE,
        "The request cannot be read",
        "A field is missing, misspelt or has a value that this call does not take.",
        "Correct the named field and ask again.",
    ),
    _problem(
        "adapter-not-recorded",
        3,
        "No record of this adapter",
        "It was never scanned here, or it is not visible to us; the answer is the same for both.",
        "Ask for a scan, or run `loadplan check` yourself.",
    ),
    _problem(
        "base-not-recorded",
        3,
        "No record of this base",
        "No adapter of this base has been scanned here.",
        "Scan an adapter of this base first.",
    ),
    _problem(
        "operation-not-found",
        3,
        "No such operation",
        "The operation never existed, or it is older than we keep them.",
        "Ask for the adapter's record instead.",
    ),
    _problem(
        "route-not-found",
        _USAGE,
        "No such page",
        "The path names nothing that this service offers.",
        "See /docs for what there is.",
    ),
    _problem(
        "method-not-allowed",
        _USAGE,
        "Not with this method",
        "The path exists, but not for this HTTP method.",
        "Use a method that the Allow header names.",
    ),
    _problem(
        "body-too-large",
        _USAGE,
        "The request body is too large",
        "The body is larger than this call takes.",
        "Split the request.",
    ),
    _problem(
        "token-missing",
        _REFUSED,
        "A token is needed",
        "Writing needs a token; none was sent, or it is unknown, revoked or expired.",
        "Send Authorization: Bearer lp_… (see `loadplan token create`).",
    ),
    _problem(
        "token-scope-missing",
        _REFUSED,
        "The token may not do this",
        "The token is valid but lacks the scope of this call.",
        "Create a token with the scope that the message names.",
    ),
    _problem(
        "rate-limited",
        _SERVICE,
        "Too many requests",
        "You sent more requests than this service allows in this time.",
        "Wait for the seconds that Retry-After gives.",
    ),
    _problem(
        "idempotency-key-reused",
        _USAGE,
        "The idempotency key was used for another request",
        "The same Idempotency-Key came with a different body.",
        "Use a new key for a new request.",
    ),
    _problem(
        "idempotency-key-in-flight",
        _SERVICE,
        "The first request with this key is not answered yet",
        "A request with the same Idempotency-Key is being worked on.",
        "Send the same request again after the seconds that Retry-After gives.",
    ),
    _problem(
        "operation-finished",
        _USAGE,
        "The operation is over",
        "What has ended cannot be cancelled.",
        "Read its result, or ask for the work again.",
    ),
    _problem(
        "subscription-not-found",
        _USAGE,
        "No such subscription",
        "It never existed, was deleted, or is of a repository that this token may not see.",
        "List the subscriptions: GET /v1/subscriptions.",
    ),
    _problem(
        "delivery-not-found",
        _USAGE,
        "No such delivery",
        "The subscription has no delivery of this id, or it is older than we keep them.",
        "List the deliveries: GET /v1/subscriptions/{id}/deliveries.",
    ),
    _problem(
        "problem-not-found",
        _USAGE,
        "No such code",
        "The path names a code that this version does not know.",
        "See /problems for every code there is.",
    ),
    _problem(
        "unsupported-media-type",
        _USAGE,
        "The body is of another type",
        "The call takes JSON.",
        "Send Content-Type: application/json.",
    ),
    _problem(
        "webhook-secret-wrong",
        _REFUSED,
        "The webhook's secret is wrong",
        "X-Webhook-Secret is missing or is not the secret that this service was given.",
        "Set the same secret on the Hub and in LOADPLAN_HUB_WEBHOOK_SECRET, and in no URL.",
    ),
    _problem(
        "cross-site-form",
        _REFUSED,
        "The form came from another site",
        "A browser sent a form that was not on a page of this service.",
        "Open the page here and send the form again.",
    ),
    _problem(
        "database-not-migrated",
        _SERVICE,
        "The database is at another version",
        "The tables are not those that this version needs.",
        "Run `loadplan migrate`.",
    ),
    _problem(
        "internal-error",
        _SERVICE,
        "A fault of ours",
        "Something went wrong on our side; the adapter is not at fault.",
        "Report it with the request id.",
    ),
)

OTHER_PROBLEMS = (
    _problem(
        "setting-invalid",
        _USAGE,
        "A setting is unknown or cannot be read",
        "An environment variable of ours has a name or value that does not exist.",
        "Compare the name and value with the settings in the README.",
    ),
    _problem(
        "repository-not-found",
        3,
        "The repository cannot be found",
        "It does not exist, or is private to a token that we do not have.",
        "Check the name; for a private repository set HF_TOKEN.",
    ),
    _problem(
        "repository-gated",
        _REFUSED,
        "The repository is gated",
        "Its author grants access on request, and this token has none.",
        "Accept the terms on the Hub and set HF_TOKEN.",
    ),
    _problem(
        "repository-disabled",
        3,
        "The repository is disabled",
        "The Hub has disabled access to it.",
        "Nothing can be done from here; the Hub's page of the repository says why.",
    ),
    _problem(
        "file-not-found",
        3,
        "The repository has no such file",
        "The file does not exist at this commit.",
        "Check the path and the commit.",
    ),
    _problem(
        "file-invalid",
        1,
        "A file cannot be read",
        "A file of the checkpoint is broken.",
        "Publish the file again.",
    ),
    _problem(
        "database-unavailable",
        _SERVICE,
        "The database does not answer",
        "No connection to the database could be made.",
        "Check LOADPLAN_DATABASE_URL and that the server runs.",
    ),
    _problem(
        "child-failed",
        _SERVICE,
        "A sandboxed program failed",
        "A child process ended without an answer; the adapter is not thereby at fault.",
        "Ask again; a program that dies each time is a fault to report.",
    ),
    _problem(
        "runner-missing",
        _SERVICE,
        "No torch here",
        "This installation can neither rehearse nor prove.",
        "Install the extra: pip install 'loadplan[runner]'.",
    ),
    _problem(
        "plan-mismatch",
        1,
        "The loaded model is not what the plan says",
        "A tensor did not land, or something else was touched.",
        "Do not serve it. Scan the adapter again and compare the three sets.",
    ),
)

CLIENT_PROBLEMS = (
    _problem(
        "requirement-not-met",
        3,
        "The record does not meet the requirement",
        "The caller asked for more evidence than there is.",
        "Read the issues; ask for a proof, or require less.",
    ),
    _problem(
        "server-refused",
        _REFUSED,
        "The server refused the request",
        "The loadplan server answered with a problem of its own.",
        "Read the problem's page on the server: /problems/{code}.",
    ),
    _problem(
        "server-unreachable",
        _SERVICE,
        "The server does not answer",
        "No connection to the loadplan server could be made.",
        "Check LOADPLAN_SERVER and that the service runs.",
    ),
    _problem(
        "target-not-allowed",
        _USAGE,
        "The webhook target is not allowed",
        "Deliveries go to public https addresses only.",
        "Name an https URL on a public host, port 443 or 8443.",
    ),
)

PROBLEMS = API_PROBLEMS + OTHER_PROBLEMS + CLIENT_PROBLEMS
