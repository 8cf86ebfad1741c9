"""The nouns of rotatord, all frozen. No I/O, no clocks, no decisions: a change returns a new value.

``Record`` is the unit of the journal: everything known about one credential, its open rotation and its ledger.
None of these ever holds a secret value; see :mod:`rotatord.secret`.
"""

from __future__ import annotations

from rotatord.model.declared import (
    ConsumerSpec as ConsumerSpec,
)
from rotatord.model.declared import (
    Destination as Destination,
)
from rotatord.model.declared import (
    HealthSpec as HealthSpec,
)
from rotatord.model.declared import (
    Policy as Policy,
)
from rotatord.model.declared import (
    Spec as Spec,
)
from rotatord.model.declared import (
    Window as Window,
)
from rotatord.model.known import (
    Drift as Drift,
)
from rotatord.model.known import (
    Evidence as Evidence,
)
from rotatord.model.known import (
    Grant as Grant,
)
from rotatord.model.known import (
    Halt as Halt,
)
from rotatord.model.known import (
    Marker as Marker,
)
from rotatord.model.known import (
    MintIntent as MintIntent,
)
from rotatord.model.known import (
    Reloaded as Reloaded,
)
from rotatord.model.known import (
    Rotation as Rotation,
)
from rotatord.model.known import (
    Seen as Seen,
)
from rotatord.model.known import (
    Summary as Summary,
)
from rotatord.model.known import (
    Suspension as Suspension,
)
from rotatord.model.known import (
    Version as Version,
)
from rotatord.model.known import (
    Written as Written,
)
from rotatord.model.record import (
    Asked as Asked,
)
from rotatord.model.record import (
    Debt as Debt,
)
from rotatord.model.record import (
    Event as Event,
)
from rotatord.model.record import (
    Hold as Hold,
)
from rotatord.model.record import (
    LeakMark as LeakMark,
)
from rotatord.model.record import (
    Notice as Notice,
)
from rotatord.model.record import (
    OwedVersion as OwedVersion,
)
from rotatord.model.record import (
    Pause as Pause,
)
from rotatord.model.record import (
    Record as Record,
)
from rotatord.model.record import (
    Trouble as Trouble,
)
from rotatord.model.words import (
    JsonMap as JsonMap,
)
from rotatord.model.words import (
    Outcome as Outcome,
)
from rotatord.model.words import (
    Owing as Owing,
)
from rotatord.model.words import (
    Reason as Reason,
)
from rotatord.model.words import (
    Slot as Slot,
)
from rotatord.model.words import (
    Standing as Standing,
)
from rotatord.model.words import (
    State as State,
)
from rotatord.model.words import (
    Verdict as Verdict,
)
from rotatord.model.words import (
    Way as Way,
)
from rotatord.model.words import (
    digest_of as digest_of,
)
