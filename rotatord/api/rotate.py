"""Rotating many credentials with one wish: which ones, and what became of the wish for each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rotatord import policy
from rotatord.api.service import Service
from rotatord.commands import parse
from rotatord.errors import Refused
from rotatord.model import JsonMap, Record, Standing

OUTCOMES_SCHEMA = "rotatord.outcomes/v1"
_PAGE = 500


class RotateSelection(BaseModel):
    """Names, or everything that matches issuer, owner and labels together. ``dry_run``: only say what would happen."""

    model_config = ConfigDict(extra="forbid")

    names: Annotated[list[str], Field(max_length=10_000)] = []
    issuer: str | None = None
    owner: str | None = None
    selector: dict[str, str] = {}
    reason: Literal["manual", "compromised"] = "manual"
    comment: Annotated[str, Field(max_length=2000)] = ""
    version: Annotated[int | None, Field(ge=0, le=2**53)] = None  # that leaked; the current one unless told
    dry_run: bool = False

    @model_validator(mode="after")
    def _something(self) -> RotateSelection:
        chosen = self.issuer is not None or self.owner is not None or bool(self.selector)
        if bool(self.names) == chosen:
            raise ValueError("name credentials, or choose them by issuer, owner or selector; not both, not neither")
        if self.version is not None and (len(self.names) != 1 or self.reason != "compromised"):
            raise ValueError("a version is named of one credential, with the reason compromised")
        return self

    def wants(self, record: Record) -> bool:
        """Whether the selection, not made by name, covers this record."""
        spec = record.spec
        return (
            record.standing not in {Standing.RETIRED, Standing.FORGOTTEN}
            and self.issuer in {None, spec.issuer}
            and self.owner in {None, spec.owner}
            and all(spec.labels.get(key) == value for key, value in self.selector.items())
        )


def rotate(service: Service, actor: str, selection: RotateSelection) -> JsonMap:
    """Ask for a rotation of each; a refusal of one does not keep the others from it. Raises KeyError for unknown names."""
    damaged: dict[str, str] = {}
    names = list(dict.fromkeys(selection.names)) or _chosen(service, selection, damaged)
    lost = [
        {"name": name, "last_rotation": None, "accepted": False, "message": f"nobody can tell whether it is meant: {why}"}
        for name, why in sorted(damaged.items())
    ]
    return {
        "schema": OUTCOMES_SCHEMA,
        "dry_run": selection.dry_run,
        "outcomes": [*(_ask(service, actor, selection, name) for name in names), *lost],
    }


def _chosen(service: Service, selection: RotateSelection, damaged: dict[str, str]) -> list[str]:
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        page, after = service.page(after, _PAGE, damaged)
        names.extend(record.name for record in page if selection.wants(record))
    return names


def _ask(service: Service, actor: str, selection: RotateSelection, name: str) -> JsonMap:
    wish = {"reason": selection.reason, "comment": selection.comment, "version": selection.version}
    command = parse("rotate", name, actor, wish)
    record = service.record(name)
    before = {"name": name, "last_rotation": record.last.id if record.last else None}
    try:
        if selection.dry_run:
            service.attempt(record, command)
            return before | {"accepted": True, "message": "would be rotated"}
        after = service.request(command)
    except Refused as refusal:
        return before | {"accepted": False, "message": str(refusal)}
    return before | {"accepted": True, "message": "asked for" + _held(service, after)}


def _held(service: Service, record: Record | None) -> str:
    """What keeps it from beginning now, such as a pause or somebody's hold, so that nobody waits for it unknowing."""
    if record is None or record.rotation is not None:
        return ""
    blocked = policy.due(record, service.now(), freeze=service.facts().pause).blocked_by
    return f"; but {blocked}" if blocked else ""
