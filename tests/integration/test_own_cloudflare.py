"""rotatord itself replaces the token that it makes tokens with at a strict Cloudflare, and is never locked out."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from rotatord.testing.cloudflare import FakeCloudflare, Habits, Held, Lags
from tests.integration.running import Installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROTATIONS = 4
LATE = Lags(fresh=0.5, ended=0.5, rights=0.5, listing=0.3)
CONFIG = """
state_dir: state
log: {{format: json}}
issuers:
  cloudflare:
    type: cloudflare
    account_id: {account}
    token: {{file: own.token}}
    endpoint: {url}
    allow_private: true
    propagation: 700ms
    listing_delay: 500ms
    call_settles_within: 2s
backends:
  files: {{type: file}}
policies:
  default: {{ttl: 30d, renew_before: 7d, overlap: 0s, settle: 0s, poll: 100ms, unproven: {{overlap: 100ms}}}}
credentials:
  - name: own
    issuer: cloudflare
    scope:
      allow:
        - {{permissions: [Account.Account API Tokens:Edit], resources: [account]}}
        - {{permissions: [Zone.Zone:Read, Zone.DNS:Edit], resources: [zone/example.com]}}
      ip_allow: [198.51.100.1/32]
    destinations: [{{backend: files, path: own.token, format: raw, keys: {{token: token}}}}]
  - name: dns
    issuer: cloudflare
    scope: {{template: dns-edit, zone: example.com}}
    destinations: [{{backend: files, path: dns.env, format: dotenv, keys: {{TOKEN: token}}}}]
"""


@pytest.fixture
def cloudflare() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(seed=5, lags=LATE, habits=Habits(creator_holds_zones=True)) as started:
        yield started


@pytest.fixture
def first(cloudflare: FakeCloudflare) -> Held:
    """Made by hand, for all zones, from anywhere and for ever."""
    return cloudflare.parent_token("Zone Read", "DNS Write")


@pytest.fixture
def daemon(cloudflare: FakeCloudflare, first: Held, tmp_path: Path) -> Iterator[Installation]:
    (tmp_path / "own.token").write_text(first.value)
    config = CONFIG.format(account=cloudflare.account_id, url=cloudflare.url)
    with Installation(tmp_path, config) as installation:
        installation.until_row("own", lambda row: row["standing"] == "unmanaged", "be seen")
        assert installation.ask("adopt", "own", "--ref", f"account/{cloudflare.account_id}/{first.id}").returncode == 0
        installation.until_quiet("own")
        installation.until_quiet("dns")
        yield installation


def ours(cloudflare: FakeCloudflare) -> list[str]:
    """The tokens that there are, by credential: what was made by hand has no label."""
    return sorted(token.name.split(":")[2] if ":" in token.name else token.name for token in cloudflare.book.live())


def refused(cloudflare: FakeCloudflare) -> list[str]:
    """What was refused to a token that should have been let in."""
    return [f"{one.operation}: {one.name}: {one.why}" for one in cloudflare.book.refused(working=True)]


def test_own_token_again_and_again(cloudflare: FakeCloudflare, first: Held, daemon: Installation) -> None:
    """What was made by hand is replaced by one that is pinned and ends, that one by the next, and other tokens are made
    meanwhile: nothing refused, and one of each left."""
    assert cloudflare.find(first.id).grant is None, "its scope was another: it has been replaced already"
    before = daemon.row("own")["generation"]
    for _ in range(ROTATIONS):
        for name in ("own", "dns"):
            daemon.rotated(name)
    assert daemon.row("own")["generation"] == before + ROTATIONS
    assert refused(cloudflare) == []
    assert ours(cloudflare) == ["dns", "own"]
    (own,) = (token for token in cloudflare.book.live() if ":own:" in token.name)
    assert own.grant is not None
    assert own.grant.condition is not None
    assert own.grant.condition.inside == ("198.51.100.1/32",)
    assert own.grant.expires_on is not None
    assert own.grant.expires_on <= cloudflare.now() + timedelta(days=30)


def test_killed_in_between(cloudflare: FakeCloudflare, daemon: Installation) -> None:
    """kill -9 at any moment: it goes on with whichever works."""
    dice = random.Random(11)
    for _ in range(ROTATIONS):
        daemon.command("rotate", "own")
        threading.Event().wait(dice.random() * 3.0)
        daemon.stop(signal.SIGKILL)
        daemon.start()
        daemon.until_quiet("own", 90)
        daemon.rotated("dns")
    assert refused(cloudflare) == []
    assert ours(cloudflare) == ["dns", "own"]


def test_one_that_lacks_a_permission_is_never_published(cloudflare: FakeCloudflare, daemon: Installation) -> None:
    """A scope that forgets what minting needs: the new token works, could not mint, and is ended; the old one goes on."""
    before = (daemon.directory / "own.token").read_text()
    daemon.hang_up(daemon.config.replace("Account.Account API Tokens:Edit", "Account.Account API Tokens:Read"))
    row = daemon.until_row(
        "own",
        lambda row: (row["last_rotation"] or {}).get("state") == "rolled_back" and row["state"] == "quiet",
        "turn back",
    )
    assert "locked out" in row["last_rotation"]["error"]
    assert "Account API Tokens Write" in row["last_rotation"]["error"]
    assert (daemon.directory / "own.token").read_text() == before
    daemon.rotated("dns")
    assert ours(cloudflare) == ["dns", "own"]
