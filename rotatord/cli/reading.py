"""The commands that only look: status, why, plan, check, strays, log."""

from __future__ import annotations

import json
import sys
import threading
from typing import Annotated, Any

import typer

from rotatord.cli.client import Client, credential_path
from rotatord.cli.ending import Ending, Exit
from rotatord.cli.options import Name, Output, place_of
from rotatord.cli.output import Form, emit, line, moment, printable, remark, table
from rotatord.cli.source import Source, reading

JsonMap = dict[str, Any]
_FOLLOW_SECONDS = 1.0


def status(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One credential; else all.", show_default=False)] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="NAME", help="Only those of this owner.")] = None,
    issuer: Annotated[str | None, typer.Option("--issuer", metavar="NAME", help="Only those of this issuer.")] = None,
    output: Output = Form.TABLE,
) -> None:
    """Show how every credential stands. Exits 1 when something needs a person, or will expire if nothing
    changes; else 3 when something could not be reached, or no daemon answers: then nobody can tell."""
    with reading(place_of(context)) as source:
        page = source.listing("status") if name is None else source.credential(name)
    page.pop("next", None)
    page["credentials"] = [
        row for row in page["credentials"] if owner in {None, row["owner"]} and issuer in {None, row["issuer"]}
    ]
    if output is not Form.TABLE:
        emit(page, output)
    else:
        _announce(page)
        _one(page["credentials"][0], page["at"]) if name is not None and page["credentials"] else _all(page)
    if page.get("read_only") or any(row["needs_person"] or row["endangered"] for row in page["credentials"]):
        raise typer.Exit(Exit.FINDINGS)
    if not source.live or page.get("damaged") or any(row["unreachable"] for row in page["credentials"]):
        raise typer.Exit(Exit.INCOMPLETE)


def why(context: typer.Context, name: Name, output: Output = Form.TABLE) -> None:
    """Explain why a credential stands where it stands, what is owed, and what could be done about it."""
    with reading(place_of(context)) as source:
        page = source.why(name)
    if output is Form.TABLE:
        _announce(page)
        _explain(page)
    else:
        emit(page, output)


def plan(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="One credential, with what would be sent to make its next version.", show_default=False
        ),
    ] = None,
    output: Output = Form.TABLE,
) -> None:
    """Show what would happen next and when. Exits 1 when something would go wrong, else 3 when no daemon answers."""
    if name is not None:
        page = Client(place_of(context)).get(f"{credential_path(name)}/plan")
        page.pop("next", None)
        live = True
    else:
        with reading(place_of(context)) as source:
            page, live = source.listing("plan"), source.live
    rows = sorted(page["credentials"], key=lambda row: (row["at"] is None, row["at"] or "", row["name"]))
    page["credentials"] = rows
    if output is Form.TABLE:
        _announce(page)
        table(
            ("NAME", "WHEN", "REASON", "DESTINATIONS", "CONSUMERS", "WHY"),
            [
                (
                    row["name"],
                    moment(row["at"], page["at"], "never"),
                    row["reason"] or "-",
                    str(len(row["destinations"])),
                    str(len(row["consumers"])),
                    row["blocked_by"] or row["why"],
                )
                for row in rows
            ],
        )
        for row in rows:
            for sentence in [*row["forecast"], *row["notes"]]:
                line(f"{row['name']}: {printable(sentence)}")
        if "mint" in page:
            _sent(page["mint"])
    else:
        emit(page, output)
    if any(row["forecast"] for row in rows):
        raise typer.Exit(Exit.FINDINGS)
    if not live or page.get("damaged"):
        raise typer.Exit(Exit.INCOMPLETE)


def _sent(mint: JsonMap) -> None:
    """What would be sent to the issuer, as it would be sent."""
    if "request" not in mint:
        line(f"what would be sent cannot be shown: {printable(mint['cannot_show'])}")
        return
    request = dict(mint["request"])
    where = " ".join(str(request.pop(key)) for key in ("method", "path") if key in request)
    line(f"to {mint['issuer']}: {printable(where)}")
    line(json.dumps(request.get("body", request), indent=2, ensure_ascii=False))


def check(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Credentials; else all.", show_default=False)
    ] = None,
    output: Output = Form.TABLE,
) -> None:
    """Look at the live systems: could we do what the configuration will need? Changes nothing."""
    page = Client(place_of(context)).get("/v1/check", name=names or None)
    findings = page["findings"]
    if output is Form.TABLE:
        words = {True: "ok", False: "wrong", None: "cannot tell"}
        table(("SUBJECT", "", "DETAIL"), [(item["subject"], words[item["ok"]], item["detail"]) for item in findings])
    else:
        emit(page, output)
    if any(item["ok"] is False for item in findings):
        raise typer.Exit(Exit.FINDINGS)
    if any(item["ok"] is None for item in findings):
        raise typer.Exit(Exit.INCOMPLETE)


def strays(context: typer.Context, output: Output = Form.TABLE) -> None:
    """List what is live at the issuers and was neither made nor adopted here. Exits 1 when there is any, else 3 when an issuer
    could not be asked."""
    page = Client(place_of(context)).get("/v1/strays")
    found = page["strays"]
    if output is not Form.TABLE:
        emit(page, output)
    elif found:
        columns = ("ISSUER", "REF", "CREATED", "EXPIRES", "WHY")
        table(
            columns,
            [
                (item["issuer"], item["ref"], item["created_at"] or "-", item["expires_at"] or "-", item["why"])
                for item in found
            ],
        )
    else:
        line("no strays" + (" at those that answered" if page["unreached"] else ""))
    for item in page["unreached"]:
        remark(printable(f"cannot tell of {item['issuer']}: {item['error']}"))
    if page["unlisted"]:
        remark(f"cannot tell of {', '.join(page['unlisted'])}: what lives there cannot be listed, or bears no labels")
    if found:
        raise typer.Exit(Exit.FINDINGS)
    if page["unreached"]:
        raise typer.Exit(Exit.INCOMPLETE)


def log(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One credential; else all.", show_default=False)] = None,
    tail: Annotated[
        int, typer.Option("--tail", "-n", metavar="COUNT", min=0, max=1000, help="How many of the latest events.")
    ] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until interrupted; JSON is then one event a line.")
    ] = False,
    output: Output = Form.TABLE,
) -> None:
    """Show the event log."""
    with reading(place_of(context)) as source:
        page = source.events(name, tail=max(tail, 1))
        if tail == 0:
            page["events"] = []
        if follow:
            _follow(source, name, page, output)
        elif output is Form.TABLE:
            _events(page["events"])
        else:
            emit(page, output)


def _follow(source: Source, name: str | None, page: JsonMap, output: Form) -> None:
    if output is Form.YAML:
        raise Ending(Exit.USAGE, "--follow prints a table or JSON lines, not yaml")
    from rotatord.clock import SystemClock  # noqa: PLC0415 - costs what following costs

    never = threading.Event()
    while True:
        for event in page["events"]:
            line(json.dumps(event, ensure_ascii=False) if output is Form.JSON else _event(event))
        sys.stdout.flush()
        SystemClock().wait(never, _FOLLOW_SECONDS)
        page = source.events(name, after=page["last"])


def _announce(page: JsonMap) -> None:
    """What holds for all comes first."""
    if page.get("read_only"):
        remark(f"READ ONLY: {printable(page['read_only'])}")
    if page.get("paused"):
        remark(f"PAUSED {printable(page['paused'])}")
    for lost in page.get("damaged", ()):
        remark(f"I cannot tell how {printable(lost['name'])} stands: {printable(lost['error'])}")
    for own in page.get("own", ()):
        line(f"our own credential of {own['of']} ({own['place']}): {printable(own['detail'])}")


def _all(page: JsonMap) -> None:
    now = page["at"]
    columns = ("NAME", "STATE", "GEN", "MINTED", "EXPIRES", "NEXT", "REASON", "OWED", "NOTE")
    rows = [
        (
            row["name"],
            row["state"] + (f" ({row['way']})" if row["way"] not in {None, "forward"} else ""),
            str(row["generation"] if row["generation"] is not None else "-"),
            moment(row["minted_at"], now),
            moment(row["expires_at"], now),
            moment(row["next_rotation_at"], now),
            row["reason"] or "-",
            str(row["owed_revocations"]),
            _note(row),
        )
        for row in page["credentials"]
    ]
    if rows:
        table(columns, rows)
    else:
        line("no credentials")


def _note(row: JsonMap) -> str:
    """The one thing to know: what waits for a person, then what will go wrong, why nothing begins, what is unknown, what an
    open rotation waits for."""
    idle, busy = ("", row["waiting"]) if row["rotation"] else (row["waiting"], "")
    found = [*row["needs_person"], row["endangered"], *row["forecast"], idle, *row["cannot_tell"], busy]
    held = [f"held by {hold['owner']} until {hold['until']}" for hold in row["holds"]]
    return next((text for text in [*found, *held] if text), "")


def _one(row: JsonMap, now: str) -> None:
    """Every field that says something: what is empty would only hide the rest."""
    times = {"minted_at", "expires_at", "next_rotation_at", "overlap_until", "inspected_at"}
    for key, value in row.items():
        if value in (None, "", [], {}):
            continue
        shown = f"{value} ({moment(value, now)})" if key in times and value else _shown(value)
        line(f"{key:<18}{printable(shown)}")


def _shown(value: Any) -> str:
    match value:
        case None | [] | "":
            return "-"
        case dict():
            return " ".join(f"{key}={_shown(item)}" for key, item in value.items())
        case list():
            return "; ".join(_shown(item) for item in value)
    return str(value)


def _explain(page: JsonMap) -> None:
    now = page["at"]
    line(f"{page['name']}: {printable(page['summary'])}")
    for sentence in page["beside"]:
        line(f"  {printable(sentence)}")
    rotation = page["rotation"]
    if rotation:
        who = f"rotation {rotation['id']} ({rotation['reason']}, by {rotation['actor']})"
        line(printable(f"  {who}, in this state since {rotation['since']} ({moment(rotation['since'], now)})"))
        if rotation["deadline"] and not rotation["halt"]:
            line(f"  this state fails by itself at {rotation['deadline']} ({moment(rotation['deadline'], now)})")
        if rotation["rollback"]:
            line(f"  it turned back: {printable(rotation['rollback'])}")
        for item in rotation["gate"]:
            line(f"  {_decision(item)}")
    _section("live", [f"{item['version']} {', '.join(item['roles'])}" for item in page["live"]])
    _section("owed", [_owed(debt, item) for debt in page["ledger"] for item in debt["owed"]])
    _section("cannot tell", page["status"]["cannot_tell"])
    _section("forecast", page["status"]["forecast"])
    _section("needs a person", page["status"]["needs_person"])
    _section(
        "what could be done",
        [
            f"{item['command']}: {item['meaning']} → {item['leads_to']}"
            if item["possible"]
            else f"{item['command']}: not now: {item['leads_to']}"
            for item in page["ways_out"]
        ],
    )
    if page["history"]:
        line("  since its open or last rotation was planned:")
        for event in page["history"]:
            ours = event["actor"] == "rotatord"
            line(f"    {_event(event | {'credential': '', 'rotation': '', 'reason': ''} | ({'actor': ''} if ours else {}))}")
            for item in _decisions(event):
                line(f"        {_decision(item)}")


def _section(title: str, lines: list[str]) -> None:
    if lines:
        line(f"  {title}:")
        for text in lines:
            line(f"    {printable(text)}")


def _owed(debt: JsonMap, item: JsonMap) -> str:
    words = f"{item['version']} ({item['reason']}): {item['owing']}, next look {debt['due_at']}"
    return words + (f"; {debt['error']}" if debt["error"] else "")


def _events(events: list[JsonMap]) -> None:
    for event in events:
        line(_event(event | {"credential": event["credential"] or "*"}))


def _event(event: JsonMap) -> str:
    what = [event["time"], event["credential"], event["action"], event["outcome"]]
    known = {key: event[key] for key in ("version", "rotation", "reason", "actor") if event[key]}
    evidence = event["evidence"]
    if _decisions(event):
        evidence = evidence | {"evidence": f"{len(_decisions(event))} checks"}
    what.extend(f"{key}={_shown(value)}" for key, value in (evidence | known).items())
    return printable(" ".join(filter(None, what)))


def _decisions(event: JsonMap) -> list[JsonMap]:
    """What the gate saw, where the event is about a decision of it."""
    found = event["evidence"].get("evidence")
    return found if isinstance(found, list) and all(isinstance(item, dict) and "verdict" in item for item in found) else []


def _decision(item: JsonMap) -> str:
    return printable(f"{item['verdict']:<5} {item['check']} {item['subject']}: {item['detail']}")
