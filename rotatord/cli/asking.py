"""The commands that ask the daemon for something. Each is journaled with who asked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from rotatord.cli.client import Client, credential_path
from rotatord.cli.ending import Ending, Exit
from rotatord.cli.options import Name, Output, Reason, pair, place_of
from rotatord.cli.output import Form, emit, line, printable, table

JsonMap = dict[str, Any]
Leaked = Annotated[
    str,
    typer.Option(
        "--version",
        metavar="GENERATION",
        help="Which version leaked, as status and why show it, the one being rolled out included; else the current one.",
    ),
]
Needed = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes into the event log.", show_default=False)]


def rotate(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Credentials.", show_default=False)] = None,
    *,
    issuer: Annotated[str | None, typer.Option("--issuer", metavar="NAME", help="All of this issuer.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="NAME", help="All of this owner.")] = None,
    selector: Annotated[
        list[str] | None,
        typer.Option("--selector", "-l", metavar="KEY=VALUE", help="All with this label, key=value; repeatable."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="manual or compromised.")] = "manual",
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="For the event log.")] = "",
    version: Leaked = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Watch until every rotation has ended; exits 1 when one failed.")
    ] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="LENGTH", help="With --wait: give up watching after this time, exit 3.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    output: Output = Form.TABLE,
) -> None:
    """Replace the current version of credentials now."""
    if not (names or issuer or owner or selector):
        raise Ending(Exit.USAGE, "name credentials, or choose them by --issuer, --owner or --selector")
    if version and (len(names or []) != 1 or reason != "compromised"):
        raise Ending(Exit.USAGE, "--version names the version of one credential that leaked: rotate NAME --reason compromised")
    body = {
        "names": names or [],
        "issuer": issuer,
        "owner": owner,
        "selector": dict(pair(text, "a selector is key=value") for text in selector or []),
        "reason": reason,
        "comment": comment,
        "version": _generation(version),
        "dry_run": dry_run,
    }
    patience = _length(timeout).total_seconds() if timeout is not None else None
    client = Client(place_of(context))
    answer = client.post("/v1/rotate", body)
    outcomes = answer["outcomes"]
    accepted = [item for item in outcomes if item["accepted"]]
    failed = len(accepted) < len(outcomes)
    if not wait or dry_run or output is not Form.TABLE:
        _say_outcomes(answer, output)
    else:
        for item in outcomes:
            if not item["accepted"]:
                line(printable(f"{item['name']}: refused: {item['message']}"))
    if not outcomes:
        raise Ending(Exit.FINDINGS, "nothing matches: no credential was asked for")
    if wait and not dry_run:
        failed = not _watch(client, accepted, patience) or failed
    if failed:
        raise typer.Exit(Exit.FINDINGS)


def _say_outcomes(answer: JsonMap, output: Form) -> None:
    if output is not Form.TABLE:
        emit(answer, output)
        return
    rows = [(item["name"], "yes" if item["accepted"] else "no", item["message"]) for item in answer["outcomes"]]
    if rows:
        table(("NAME", "ACCEPTED", "MESSAGE"), rows)


def _watch(client: Client, accepted: list[JsonMap], patience: float | None) -> bool:
    from rotatord.cli.following import Following, Watch, display  # noqa: PLC0415 - threads and a clock only where needed
    from rotatord.clock import SystemClock  # noqa: PLC0415

    following = Following(client, SystemClock(), {item["name"]: Watch(item["last_rotation"]) for item in accepted}, patience)
    with display() as shown:
        over = following.until_over(shown)
    if not over:
        open_ones = [name for name, watch in following.watches.items() if not watch.outcome]
        raise Ending(Exit.INCOMPLETE, f"still under way: {', '.join(open_ones)}; see `rotatord why`")
    return all(watch.outcome == "completed" for watch in following.watches.values())


def pause(
    context: typer.Context,
    until: Annotated[
        str,
        typer.Option(
            "--until",
            metavar="TIME",
            help="When it ends: a time such as 2030-01-31T09:00Z, or a length such as 3d; 24h unless told, 31d at most.",
        ),
    ] = "",
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", help="Whom to ask about it; else who asks.")] = "",
    reason: Reason = "",
) -> None:
    """Start no rotation anywhere, and let nothing die, until a given time; what is under way comes to a safe place."""
    wish = {"until": _moment(until) if until else None, "owner": owner, "reason": reason}
    kept = _ask_all(context, "pause", wish)["pause"]
    usual = "" if until else " (24 hours: no --until was given)"
    line(printable(f"paused until {kept['until']}{usual}, by {kept['owner']}; it ends by itself, or with `rotatord unpause`"))


def unpause(context: typer.Context, reason: Reason = "") -> None:
    """End the pause before its time."""
    _ask_all(context, "unpause", {"reason": reason})
    line("unpaused")


def hold(
    context: typer.Context,
    name: Name,
    until: Annotated[
        str,
        typer.Option("--until", metavar="TIME", help="When it ends: a time such as 2030-01-31T09:00Z, or a length such as 3d."),
    ],
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", help="Whom to ask about it.")],
    reason: Reason = "",
) -> None:
    """Start no rotation of a credential, and let none of its versions die, until a given time."""
    _ask(context, "hold", name, {"until": _moment(until), "owner": owner, "reason": reason})


def release(context: typer.Context, name: Name, reason: Reason = "") -> None:
    """End the holds of a credential before their time."""
    _ask(context, "release", name, {"reason": reason})


def resume(
    context: typer.Context,
    name: Name,
    *,
    retry: Annotated[bool, typer.Option("--retry", help="Take the step that failed once more (the default).")] = False,
    replan: Annotated[bool, typer.Option("--replan", help="Give the rotation up and plan a new one.")] = False,
    remint: Annotated[bool, typer.Option("--remint", help="Owe what was minted and mint again.")] = False,
    accept: Annotated[bool, typer.Option("--accept", help="Take the present state as good; needs --reason.")] = False,
    skip_consumer: Annotated[
        str, typer.Option("--skip-consumer", metavar="NAME", help="Go on without it; needs --reason.")
    ] = "",
    reason: Reason = "",
) -> None:
    """Go on after a halt. `why NAME` shows what each way would do."""
    ways = {"retry": retry, "replan": replan, "remint": remint, "accept": accept, "skip_consumer": bool(skip_consumer)}
    chosen = [way for way, given in ways.items() if given] or ["retry"]
    if len(chosen) > 1:
        raise Ending(Exit.USAGE, f"choose one of --{' and --'.join(chosen)}".replace("_", "-"))
    _ask(context, "resume", name, {"how": chosen[0], "consumer": skip_consumer, "reason": reason})


def rollback(context: typer.Context, name: Name, reason: Reason = "") -> None:
    """Turn the open rotation back to the version that it replaces."""
    _ask(context, "rollback", name, {"reason": reason})


def repair(context: typer.Context, name: Name, reason: Reason = "") -> None:
    """Publish the current version anew where it is missing or was changed."""
    _ask(context, "repair", name, {"reason": reason})


def inspect(context: typer.Context, name: Name) -> None:
    """Read the destinations of a credential now instead of at the next sweep."""
    _ask(context, "inspect", name, {})


def adopt(
    context: typer.Context,
    name: Name,
    ref: Annotated[
        str,
        typer.Option("--ref", metavar="REF", help="The issuer's id of the value; without it that version is never revoked."),
    ] = "",
) -> None:
    """Take over the value that the destination already holds."""
    _ask(context, "adopt", name, {"ref": ref})


def retire(context: typer.Context, name: Name, reason: Needed) -> None:
    """Revoke every version of a credential and clear its destinations, for good."""
    _ask(context, "retire", name, {"reason": reason})


def contain(context: typer.Context, name: Name, reason: Needed, version: Leaked = "") -> None:
    """Suspend or revoke a leaked version before its replacement is there: its consumers stop working meanwhile."""
    _ask(context, "contain", name, {"reason": reason, "version": _generation(version)})


def revoke(
    context: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="NAME@GENERATION, as status shows it.", show_default=False)],
    reason: Needed,
    now: Annotated[bool, typer.Option("--now", help="Without waiting for the gate; recorded as an exception.")] = False,
) -> None:
    """Make one version die."""
    name, _, generation = version.rpartition("@")
    if not name or not generation.partition("-")[0].isdecimal():
        raise Ending(Exit.USAGE, f"a version is named NAME@GENERATION, for example {name or version}@3")
    _ask(context, "revoke", name, {"version": _generation(generation), "now": now, "reason": reason})


def rebuild(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Credentials; else all.", show_default=False)
    ] = None,
    reason: Reason = "",
) -> None:
    """Restore a lost or older journal from the slots of the destinations and the labels at the issuers."""
    client = Client(place_of(context))
    chosen = names or [
        row["name"] for page in client.pages("/v1/status") for row in page["credentials"] if row["standing"] == "behind"
    ]
    if not chosen:
        line("nothing to rebuild")
    for name in chosen:
        client.post(f"{credential_path(name)}/commands/rebuild", {"reason": reason})
        line(f"{name}: asked for")


def _ask(context: typer.Context, verb: str, name: str, arguments: JsonMap) -> None:
    answer = Client(place_of(context)).post(f"{credential_path(name)}/commands/{verb}", arguments)
    row = answer.get("credential") or {}
    state = f"; now {row['state']}" if row else ""
    line(printable(f"{name}: {verb} asked for{state}"))


def _ask_all(context: typer.Context, verb: str, arguments: JsonMap) -> JsonMap:
    return Client(place_of(context)).post(f"/v1/installation/commands/{verb}", arguments)


def _generation(text: str) -> int | None:
    """A version as people see it: 3, or its whole label 3-0a1b2c3d."""
    number = text.partition("-")[0]
    if text and not number.isdecimal():
        raise Ending(Exit.USAGE, f"--version is a generation such as 3, not {text!r}")
    return int(number) if text else None


def _moment(text: str) -> str:
    """A time as the API takes it, from a time or a length from now."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        from rotatord import durations  # noqa: PLC0415
        from rotatord.clock import SystemClock  # noqa: PLC0415

        try:
            at = SystemClock().now() + durations.parse(text)
        except ValueError:
            raise Ending(
                Exit.USAGE, f"--until is a time such as 2030-01-31T09:00Z, or a length such as 3d, not {text!r}"
            ) from None
    return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).isoformat()


def _length(text: str) -> Any:
    from rotatord import durations  # noqa: PLC0415

    try:
        return durations.parse(text)
    except ValueError as error:
        raise Ending(Exit.USAGE, f"--timeout: {text!r} {error}") from None
