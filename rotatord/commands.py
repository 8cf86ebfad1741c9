"""What people may ask for: the verbs, the right that each needs, and the arguments that each takes. Pure.

A :class:`Command` is checked for form here and for sense by ``rotatord.react.accept``, which knows the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rotatord.model import JsonMap, Reason


class Right(StrEnum):
    """What an actor may do; none of them includes another."""

    READ = "read"  # see everything that is not secret
    ROTATE = "rotate"  # ask for what the policy would allow anyway
    OVERRIDE = "override"  # decide against the engine's own caution
    POLICY = "policy"  # change what is in force for all: load the configuration, pause the installation


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One thing that ``actor`` wants of one credential, or of the installation where ``credential`` is empty.

    ``arguments`` are those of the verb's schema, checked and complete, as Python values: times are aware datetimes.
    """

    verb: str
    credential: str
    actor: str
    arguments: JsonMap = field(default_factory=dict)


class CommandError(ValueError):
    """A command that cannot be meant: unknown verb, unknown or malformed arguments. The message says all that is wrong."""


def _aware(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Generation = Annotated[int, Field(ge=0, le=2**53)]
Moment = Annotated[datetime, AfterValidator(_aware)]
Text = Annotated[str, Field(max_length=2000)]
Words = Annotated[str, Field(min_length=1, max_length=2000)]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class NoArguments(_Arguments):
    """The verb says it all."""


class ReasonOptional(_Arguments):
    """``reason``: why, for the event log."""

    reason: Text = ""


class ReasonNeeded(_Arguments):
    """``reason``: why, for the event log; these verbs cannot be taken back."""

    reason: Words


class RotateArguments(_Arguments):
    """``reason``: manual, or compromised, which marks a version as leaked and gives it a hard deadline. ``version``: the
    generation that leaked, the one being rolled out included; the current one unless told."""

    reason: Literal["manual", "compromised"] = "manual"
    comment: Text = ""
    version: Generation | None = None

    @model_validator(mode="after")
    def _leaked(self) -> RotateArguments:
        if self.version is not None and self.reason != "compromised":
            raise ValueError("a version is named only with the reason compromised")
        return self


class ContainArguments(ReasonNeeded):
    """``version``: the generation that leaked; the current one unless told."""

    version: Generation | None = None


class HoldArguments(_Arguments):
    """``until``: when the hold ends by itself. ``owner``: whom to ask about it."""

    until: Moment
    owner: Words
    reason: Text = ""


class PauseArguments(_Arguments):
    """``until``: when the pause ends by itself, 24 hours from now unless told, 31 days at most. ``owner``: whom to ask about
    it; who asks unless told."""

    until: Moment | None = None
    owner: Text = ""
    reason: Text = ""


class ResumeArguments(_Arguments):
    """``how`` the halt ends. ``consumer`` is named for skip_consumer; accept and skip_consumer need a ``reason``."""

    how: Literal["retry", "replan", "remint", "accept", "skip_consumer"] = "retry"
    consumer: Text = ""
    reason: Text = ""

    @model_validator(mode="after")
    def _complete(self) -> ResumeArguments:
        if (self.how == "skip_consumer") != bool(self.consumer):
            raise ValueError("a consumer is named exactly when it is to be skipped")
        if self.how in {"accept", "skip_consumer"} and not self.reason:
            raise ValueError(f"{self.how} passes the gate without proof and needs a reason")
        return self


class AdoptArguments(_Arguments):
    """``ref``: the issuer's id of the version that the destination holds; without it that version is never revoked."""

    ref: Text = ""


class RevokeArguments(_Arguments):
    """``version``: its generation. ``now``: without waiting for the gate, recorded as an exception."""

    version: Generation
    now: bool = False
    reason: Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One verb: who may use it, what it takes, and what it does in a line."""

    name: str
    right: Right
    schema: type[BaseModel]
    help: str
    installation: bool = False  # about all credentials, not one


def _verbs(*verbs: Verb) -> Mapping[str, Verb]:
    return {verb.name: verb for verb in verbs}


VERBS = _verbs(
    Verb(name="rotate", right=Right.ROTATE, schema=RotateArguments, help="Replace the current version now."),
    Verb(
        name="repair", right=Right.ROTATE, schema=ReasonOptional, help="Publish the current version anew where it is missing."
    ),
    Verb(
        name="inspect", right=Right.ROTATE, schema=NoArguments, help="Read the destinations now instead of at the next sweep."
    ),
    Verb(
        name="rollback",
        right=Right.ROTATE,
        schema=ReasonOptional,
        help="Turn the open rotation back to the version it replaces.",
    ),
    Verb(
        name="hold", right=Right.ROTATE, schema=HoldArguments, help="Start no rotation and let nothing die until a given time."
    ),
    Verb(name="release", right=Right.OVERRIDE, schema=ReasonOptional, help="End the holds of a credential before their time."),
    Verb(name="resume", right=Right.OVERRIDE, schema=ResumeArguments, help="Go on after a halt."),
    Verb(name="adopt", right=Right.OVERRIDE, schema=AdoptArguments, help="Take over the value that the destination holds."),
    Verb(
        name="retire",
        right=Right.OVERRIDE,
        schema=ReasonNeeded,
        help="Revoke every version and clear the destinations for good.",
    ),
    Verb(
        name="contain",
        right=Right.OVERRIDE,
        schema=ContainArguments,
        help="Suspend or revoke a leaked version before its replacement is there.",
    ),
    Verb(name="revoke", right=Right.OVERRIDE, schema=RevokeArguments, help="Make one version die."),
    Verb(name="rebuild", right=Right.OVERRIDE, schema=ReasonOptional, help="Restore the journal from slots and labels."),
    Verb(
        name="pause",
        right=Right.POLICY,
        schema=PauseArguments,
        help="Start no rotation anywhere, and let nothing die, until a given time (24 hours unless told).",
        installation=True,
    ),
    Verb(name="unpause", right=Right.POLICY, schema=ReasonOptional, help="End the pause before its time.", installation=True),
)


def right_of(verb: str, arguments: JsonMap) -> Right:
    """The right that this use of a verb needs: to call a version compromised sets aside freezes and forces a death."""
    if verb == "rotate" and arguments.get("reason") == Reason.COMPROMISED:
        return Right.OVERRIDE
    return VERBS[verb].right


def parse(verb: str, credential: str, actor: str, arguments: JsonMap) -> Command:
    """A checked command. Raises CommandError with every mistake at once."""
    known = VERBS.get(verb)
    if known is None:
        raise CommandError(f"there is no verb {verb!r}; there are: {', '.join(VERBS)}")
    if known.installation == bool(credential):
        raise CommandError(f"{verb} is about the whole installation" if credential else f"{verb} needs a credential")
    try:
        checked = known.schema.model_validate(arguments)
    except ValidationError as error:
        raise CommandError(f"{verb}: {'; '.join(_mistakes(error))}") from None
    return Command(verb=verb, credential=credential, actor=actor, arguments=checked.model_dump())


def _mistakes(error: ValidationError) -> list[str]:
    """One clause per mistake; the value itself is left out, it may be anything."""
    return [
        ": ".join(filter(None, (".".join(map(str, item["loc"])), item["msg"]))) for item in error.errors(include_input=False)
    ]
