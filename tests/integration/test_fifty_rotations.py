"""Fifty rotations in a row on a real Vault, under two applications that forgive nothing. Refusals: Vault's own count."""

from __future__ import annotations

import statistics
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.on_vault import Audited, Busy, Corner, audited
from tests.integration.running import Installation
from tests.servers.fixtures import Place
from tests.servers.vault import VaultServer

NAME = "busy"
HALF = 25
REQUESTS_A_SECOND = 100
CONFIG = """
policies:
  row: {{ttl: 1h, renew_before: 10m, alarm_before: 5m, overlap: {overlap}, poll: 100ms, verify_within: 20s}}
credentials:
  - name: {name}
    issuer: tokens
    policy: row
    scope: {{permissions: [{permission}]}}
    destinations:
      - {{backend: kv, path: {permission}/app, keys: {{TOKEN: token}}, version_key: VERSION}}
      - {{backend: files, path: destinations/app.env, format: dotenv, keys: {{TOKEN: token}}, version_key: VERSION}}
    consumers:
      - {from_kv}
      - {from_file}
"""


def moment(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["time"])


def overlaps(events: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds by rotation between the proof that everybody uses the new version and the decision that the old one dies."""
    verified = {e["rotation"]: moment(e) for e in events if (e["action"], e["outcome"]) == ("verify", "done")}
    decided = {e["rotation"]: moment(e) for e in events if (e["action"], e["outcome"]) == ("authorise", "done")}
    return {rotation: (decided[rotation] - verified[rotation]).total_seconds() for rotation in decided}


@pytest.fixture
def corner(own_vault: VaultServer, tmp_path: Path) -> Corner:
    """A Vault of this test's own: its audit device records nothing but this test."""
    return Corner.make(Place(own_vault, "fifty", tmp_path))


@pytest.mark.vault
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_fifty_rotations_in_a_row_refuse_nobody(corner: Corner, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """50 rotations, overlap 0 s and then 1 s: no request of either application is refused, and every old token is dead."""
    reader = ["--document", f"secret/data/{corner.name}/app", "--reader-token", str(corner.reader_token())]
    file = tmp_path / "destinations" / "app.env"
    kv, env = Busy(corner, "from-kv", NAME, reader), Busy(corner, "from-file", NAME, ["--file", str(file)])
    with kv, env:
        names = {"name": NAME, "permission": corner.name, "from_kv": kv.consumer(), "from_file": env.consumer()}
        config = {seconds: corner.head() + CONFIG.format(overlap=f"{seconds}s", **names) for seconds in (0, 1)}
        with Installation(tmp_path, config[0]) as installation:
            installation.until_quiet(NAME)
            tokens = [corner.document()["TOKEN"]]
            rows = []
            for number in range(2 * HALF):
                if number == HALF:
                    change_overlap(installation, config[1])
                rows.append(installation.rotated(NAME))
                tokens.append(corner.document()["TOKEN"])
            events = installation.events(NAME)
            strays = installation.ask("strays")
    check_deaths(corner, events, tokens)
    assert strays.stdout.strip() == "no strays", strays.stdout + strays.stderr
    seconds = overlaps(events)
    measured = [seconds[row["last_rotation"]["id"]] for row in rows]
    assert min(measured[HALF:]) >= 1.0
    refused = check_consumers(corner, kv, env)
    taken = [lasted(row["last_rotation"]) for row in rows]
    figures = [
        f"{HALF} rotations with an overlap of {overlap} s: median {statistics.median(taken[part]):.2f} s, "
        f"of that {statistics.median(measured[part]):.2f} s from proof to pivot"
        for overlap, part in ((0, slice(HALF)), (1, slice(HALF, None)))
    ]
    for busy in (kv, env):
        counts = busy.counts
        pace = f"{counts['asked'] / counts['seconds']:.0f}/s (slowest second {counts['worst_second']})"
        figures.append(f"{busy.name}: {counts['asked']} requests, {pace}, refused by Vault's audit: {refused[busy.name]}")
    with capsys.disabled():
        print("", *figures, f"{2 * HALF} old tokens proven dead, 0 strays, 0 orphans", sep="\n")


def lasted(rotation: dict[str, Any]) -> float:
    """Seconds from planning to the pivot."""
    start, end = (datetime.fromisoformat(rotation[key]) for key in ("started_at", "finished_at"))
    return (end - start).total_seconds()


def change_overlap(installation: Installation, config: str) -> None:
    """A reload half way: from here on every plan has the other overlap."""
    installation.hang_up(config)

    def in_force() -> bool:
        (row,) = installation.client.get("/v1/plan")["credentials"]
        return bool(row["overlap_seconds"] == 1.0)

    installation.until(in_force, "take the other overlap")


def check_deaths(corner: Corner, events: list[dict[str, Any]], tokens: list[str]) -> None:
    """Of 51 versions 50 are proven dead, by rotatord, by their accessors and by their values; nothing else is left over."""
    minted = [event["evidence"]["ref"] for event in events if (event["action"], event["outcome"]) == ("mint", "done")]
    dead = [event["evidence"]["ref"] for event in events if (event["action"], event["outcome"]) == ("prove_dead", "done")]
    assert len(minted) == len(set(minted)) == 2 * HALF + 1
    assert dead == minted[:-1]
    assert [accessor for accessor in minted if corner.alive(accessor)] == minted[-1:]
    assert [token for token in tokens if corner.works(token)] == tokens[-1:]
    assert len(set(tokens)) == 2 * HALF + 1
    assert set(corner.labelled()) == {minted[-1]}
    assert corner.document("app.rotatord/pending") == corner.document("app.rotatord/previous") == {}


def check_consumers(corner: Corner, *consumers: Busy) -> dict[str, int]:
    """Neither has been refused anything, by its own count and by Vault's; the counting itself does count."""
    refused = {}
    for busy in consumers:
        counts, seen = busy.counts, audited(corner.server.audit_file, busy.asks_for)
        assert (counts["refused"], counts["broken"], counts["failed_loads"]) == (0, 0, 0), busy.output()
        assert seen == Audited(asked=counts["asked"], refused=0)
        assert counts["loads"] == 2 * HALF + 1
        assert counts["asked"] / counts["seconds"] >= REQUESTS_A_SECOND
        refused[busy.name] = seen.refused
    busy = consumers[0]
    assert corner.server.request("GET", busy.asks_for, token="a-token-of-nobody")[0] == 403
    assert audited(corner.server.audit_file, busy.asks_for).refused == 1
    return refused
