"""Every table, by noun. Importing this package fills `Base.metadata`."""

from registry.db.models.access import (
    AuditRow,
    IdempotencyKeyRow,
    PrivateGrantRow,
    RateWindowRow,
    TokenRow,
)
from registry.db.models.checkpoints import (
    AdapterConfigRow,
    BaseConfigRow,
    BaseTreeRow,
    CheckpointRow,
    LayoutRow,
    LayoutTensorRow,
    RefRow,
    RepositoryAliasRow,
    RepositoryRow,
    TokenizerRow,
)
from registry.db.models.operations import (
    OperationEventRow,
    OperationRow,
    SweepRow,
    WorkerRow,
)
from registry.db.models.records import (
    EnvironmentRow,
    PlanRow,
    ProofRow,
    RecordBodyRow,
    RecordIssueRow,
    RecordRow,
    RehearsalRow,
)
from registry.db.models.watching import DeliveryRow, HubEventRow, SubscriptionRow

__all__ = [
    "AdapterConfigRow",
    "AuditRow",
    "BaseConfigRow",
    "BaseTreeRow",
    "CheckpointRow",
    "DeliveryRow",
    "EnvironmentRow",
    "HubEventRow",
    "IdempotencyKeyRow",
    "LayoutRow",
    "LayoutTensorRow",
    "OperationEventRow",
    "OperationRow",
    "PlanRow",
    "PrivateGrantRow",
    "ProofRow",
    "RateWindowRow",
    "RecordBodyRow",
    "RecordIssueRow",
    "RecordRow",
    "RefRow",
    "RehearsalRow",
    "RepositoryAliasRow",
    "RepositoryRow",
    "SubscriptionRow",
    "SweepRow",
    "TokenRow",
    "TokenizerRow",
    "WorkerRow",
]
