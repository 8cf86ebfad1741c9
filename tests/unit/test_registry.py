"""The registry: one instance per configured thing, handed on at reloads, and troubles that name no value."""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_plugins import FakeIssuer, find

from rotatord import references, registry
from rotatord.errors import Denied, Invalid, NotFound
from rotatord.model import ConsumerSpec, HealthSpec, JsonMap
from rotatord.ports import Surroundings
from rotatord.registry import PluginSettings, PluginTrouble, Registry

NOW = datetime(2026, 7, 1, tzinfo=UTC)


@dataclass
class Configured:
    """Just issuers and backends."""

    issuers: dict[str, PluginSettings] = field(default_factory=dict)
    backends: dict[str, PluginSettings] = field(default_factory=dict)


def surroundings(base_dir: str = ".") -> Surroundings:
    return Surroundings(
        installation="test",
        state_dir="/nowhere",
        now=lambda: NOW,
        secret=lambda reference: references.resolve(reference, base_dir=base_dir),
        base_dir=base_dir,
    )


def issuers(**settings: JsonMap) -> dict[str, PluginSettings]:
    return {name: PluginSettings(type="fake", settings=value) for name, value in settings.items()}


def made(configured: Configured, previous: Registry | None = None) -> Registry:
    return Registry(configured, surroundings(), find=find, previous=previous)


def fake(plugins: Registry, name: str) -> FakeIssuer:
    instance = plugins.issuer(name)
    assert isinstance(instance, FakeIssuer)
    return instance


def test_one_instance_per_configured_issuer() -> None:
    """Asking twice, from several threads, builds once; two names with the same settings are two."""
    plugins = made(Configured(issuers=issuers(a={}, b={})))
    seen: list[object] = []
    threads = [threading.Thread(target=lambda: seen.append(plugins.issuer("a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(instance) for instance in seen}) == 1
    assert plugins.issuer("a") is not plugins.issuer("b")


def test_consumers_and_checks_are_shared_by_settings() -> None:
    """Two specs with the same settings share an instance; refresh_within is passed on to the plugin."""
    plugins = made(Configured())
    one = ConsumerSpec(
        type="fake", name="x", settings={"evidence": "attestation"}, health=(HealthSpec(type="http", settings={"url": "u"}),)
    )
    two = ConsumerSpec(type="fake", name="y", settings={"evidence": "attestation"})
    polling = ConsumerSpec(type="fake", name="z", refresh_within=timedelta(minutes=1))
    assert plugins.consumer(one) is plugins.consumer(two)
    assert plugins.consumer(polling).evidence == "polling"
    assert [name for name, _ in plugins.health(one)] == ["http"]


def test_a_consumer_that_can_tell_its_health_is_its_own_first_check() -> None:
    """A rollout that is stuck is unhealthy without anybody declaring a check for it."""
    plugins = made(Configured())
    spec = ConsumerSpec(type="rollout", name="web", health=(HealthSpec(type="http", settings={"url": "x"}),))
    checks = plugins.health(spec)
    assert [name for name, _ in checks] == ["rollout", "http"]
    assert checks[0][1] is plugins.consumer(spec)
    assert [name for name, _ in plugins.health(ConsumerSpec(type="fake", name="app"))] == []


def test_the_kept_checks_are_bounded() -> None:
    """However many consumers there are, only so many instances are kept."""
    plugins = made(Configured())
    for number in range(registry.KEPT_CHECKS + 50):
        plugins.consumer(ConsumerSpec(type="fake", name="x", settings={"number": number}))
    assert len(plugins._checks) == registry.KEPT_CHECKS


@pytest.mark.parametrize(
    ("declared", "words", "suggestion"),
    [
        (PluginSettings(type="fakee"), "there is no issuer of type 'fakee' (installed: fake, vault_token)", "fake"),
        (PluginSettings(type="vault_token"), "needs the module hvac: pip install 'rotatord[vault]'", None),
        (PluginSettings(type="fake", settings={"adress": "x"}), "unknown key 'adress'", "address"),
        (PluginSettings(type="fake", settings={"address": 3}), "'address' should be text", None),
        (PluginSettings(type="fake", settings={"token": "planted-value"}), "'token' should be a mapping", None),
    ],
)
def test_troubles_say_what_is_wrong_and_no_value(declared: PluginSettings, words: str, suggestion: str | None) -> None:
    """Unknown types, missing modules and bad settings are Invalid, in words, with what was perhaps meant."""
    plugins = made(Configured(issuers={"a": declared}))
    with pytest.raises(PluginTrouble) as caught:
        plugins.issuer("a")
    assert words in str(caught.value)
    assert caught.value.troubles[0].suggestion == suggestion
    assert "planted-value" not in str(caught.value)
    assert isinstance(caught.value, Invalid)


def test_an_unknown_name_is_invalid_with_the_nearest() -> None:
    """A rotation planned with an issuer that is gone meets a permanent error, not a KeyError."""
    plugins = made(Configured(issuers=issuers(cloudflare={})))
    with pytest.raises(PluginTrouble) as caught:
        plugins.issuer("cloudflar")
    assert caught.value.troubles[0].suggestion == "cloudflare"


def test_a_reload_keeps_what_did_not_change() -> None:
    """The same settings keep their instance; changed ones get a new one; the old registry closes only what it kept."""
    old = made(Configured(issuers=issuers(same={}, changed={"address": "a"}, gone={})))
    same, changed, gone = (fake(old, name) for name in ("same", "changed", "gone"))
    new = made(Configured(issuers=issuers(same={}, changed={"address": "b"})), previous=old)
    assert fake(new, "same") is same
    assert fake(new, "changed") is not changed
    assert fake(old, "same") is same, "work in flight still finds it"
    old.close()
    assert (same.closed, changed.closed, gone.closed) == (0, 1, 1)
    new.close()
    assert same.closed == 1


def test_vault_references_go_to_the_configured_backend() -> None:
    """An issuer's secret may lie in a backend; after a reload it is that of the configuration in force."""
    settings = {"token": {"vault": "apps/x", "key": "token"}}
    vault = PluginSettings(type="vault")
    old = made(Configured(issuers=issuers(a=settings), backends={"v": vault}))
    assert fake(old, "a").token() == "value of apps/x token"
    new = made(Configured(issuers=issuers(a=settings), backends={"v": vault, "w": vault}), previous=old)
    with pytest.raises(Invalid, match="needs to name its backend: 2"):
        fake(new, "a").token()


def test_references_are_read_anew_at_each_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes and a variable that changes are seen; exactly one trailing newline is dropped."""
    file = tmp_path / "token"
    file.write_text("first\n\n")
    assert references.resolve({"file": "token"}, base_dir=str(tmp_path)) == "first\n"
    file.write_text("second\n")
    assert references.resolve({"file": str(file)}) == "second"
    monkeypatch.setenv("ROTATORD_TEST_TOKEN", "third")
    assert references.resolve({"env": "ROTATORD_TEST_TOKEN"}) == "third"
    assert references.resolve("env:ROTATORD_TEST_TOKEN") == "third"


@pytest.mark.parametrize(
    ("reference", "error", "words"),
    [
        ({"file": "/nonexistent/x"}, NotFound, "does not exist"),
        ({"file": "/"}, Denied, "cannot be read"),
        ({"env": "ROTATORD_NOT_SET"}, NotFound, "not set"),
        ({"file": "x", "env": "y"}, Invalid, "exactly one"),
        ({"vault": "x"}, Invalid, "needs the key"),
        ({"vault": "x", "key": "k"}, Invalid, "needs a configured backend"),
        ("planted-value", Invalid, "given by reference"),
        ({"env": "X", "key": "planted-value"}, Invalid, "no meaning beside env"),
    ],
)
def test_bad_references_are_told_without_their_value(reference: JsonMap | str, error: type[Exception], words: str) -> None:
    """Each kind of failure has its place in the error tree, and no message quotes what might be a secret."""
    with pytest.raises(error, match=words) as caught:
        references.resolve(reference)
    assert "planted-value" not in str(caught.value)
