"""The ports: what the core asks of issuers, backends, consumers, checks and the journal.

Every method blocks, has connect and read timeouts of its own that together stay below :attr:`timeout`, never retries
by itself (only the saga does) and raises nothing but :mod:`rotatord.errors`. Optional powers are protocols of their own,
found by ``isinstance``. The contract suites in ``rotatord.testing.contracts`` enforce what the docstrings say.
"""

from __future__ import annotations

from rotatord.ports.backend import (
    Backend as Backend,
)
from rotatord.ports.backend import (
    BackendPreflight as BackendPreflight,
)
from rotatord.ports.backend import (
    Held as Held,
)
from rotatord.ports.consumer import (
    Consumer as Consumer,
)
from rotatord.ports.consumer import (
    ConsumerPreflight as ConsumerPreflight,
)
from rotatord.ports.consumer import (
    Health as Health,
)
from rotatord.ports.consumer import (
    Idles as Idles,
)
from rotatord.ports.consumer import (
    Instance as Instance,
)
from rotatord.ports.consumer import (
    Possession as Possession,
)
from rotatord.ports.consumer import (
    Published as Published,
)
from rotatord.ports.consumer import (
    Restarts as Restarts,
)
from rotatord.ports.issuer import (
    Accepted as Accepted,
)
from rotatord.ports.issuer import (
    Acts as Acts,
)
from rotatord.ports.issuer import (
    Inconclusive as Inconclusive,
)
from rotatord.ports.issuer import (
    Inventory as Inventory,
)
from rotatord.ports.issuer import (
    Issuer as Issuer,
)
from rotatord.ports.issuer import (
    LastUsed as LastUsed,
)
from rotatord.ports.issuer import (
    LiveRef as LiveRef,
)
from rotatord.ports.issuer import (
    Metered as Metered,
)
from rotatord.ports.issuer import (
    Minted as Minted,
)
from rotatord.ports.issuer import (
    MintRequest as MintRequest,
)
from rotatord.ports.issuer import (
    Preflight as Preflight,
)
from rotatord.ports.issuer import (
    Preview as Preview,
)
from rotatord.ports.issuer import (
    PrincipalScope as PrincipalScope,
)
from rotatord.ports.issuer import (
    ProbeAnswer as ProbeAnswer,
)
from rotatord.ports.issuer import (
    Query as Query,
)
from rotatord.ports.issuer import (
    RefusedVerdict as RefusedVerdict,
)
from rotatord.ports.issuer import (
    Remarks as Remarks,
)
from rotatord.ports.issuer import (
    Renew as Renew,
)
from rotatord.ports.issuer import (
    Serves as Serves,
)
from rotatord.ports.issuer import (
    Sessions as Sessions,
)
from rotatord.ports.issuer import (
    Shortens as Shortens,
)
from rotatord.ports.issuer import (
    Surveys as Surveys,
)
from rotatord.ports.issuer import (
    Suspend as Suspend,
)
from rotatord.ports.issuer import (
    Traits as Traits,
)
from rotatord.ports.journal import (
    NOTHING as NOTHING,
)
from rotatord.ports.journal import (
    Amendment as Amendment,
)
from rotatord.ports.journal import (
    Journal as Journal,
)
from rotatord.ports.journal import (
    Lease as Lease,
)
from rotatord.ports.journal import (
    Shared as Shared,
)
from rotatord.ports.own import (
    Empowered as Empowered,
)
from rotatord.ports.own import (
    Life as Life,
)
from rotatord.ports.own import (
    Referable as Referable,
)
from rotatord.ports.own import (
    Secrets as Secrets,
)
from rotatord.ports.own import (
    TellsOwnLife as TellsOwnLife,
)
from rotatord.ports.plugins import (
    Factory as Factory,
)
from rotatord.ports.plugins import (
    Plugins as Plugins,
)
from rotatord.ports.plugins import (
    Surroundings as Surroundings,
)
