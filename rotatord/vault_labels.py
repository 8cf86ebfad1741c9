"""How versions at Vault are labelled, and how what Vault shows of them is compared with what was asked. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from rotatord.ports import MintRequest

LABEL = "rotatord_"


def labels_of(request: MintRequest) -> dict[str, str]:
    """The metadata by which a version is found again; not secret."""
    labels = {
        "installation": request.installation,
        "credential": request.credential,
        "rotation": request.rotation,
        "generation": str(request.generation),
        "owner": request.owner,
        "purpose": request.purpose,
    }
    return {f"{LABEL}{name}": value for name, value in labels.items() if value}


def as_asked(seen: Iterable[str], asked: Iterable[str], normal: Callable[[str], str]) -> list[str]:
    """The asked spelling where it means the same as what is seen, else what is seen."""
    seen, asked = list(seen), list(asked)
    return asked if {normal(item) for item in seen} == {normal(item) for item in asked} else seen


def network(text: str) -> str:
    """One spelling for a network: Vault leaves out the length of a single address."""
    return str(ipaddress.ip_network(text, strict=False))
