"""Which credentials are our own is found from the configuration, and what cannot be replaced safely is refused."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rotatord import react, references
from rotatord.commands import parse
from rotatord.config import Configuration, load, surroundings
from rotatord.errors import ConfigError, Invalid, NotFound, Refused
from rotatord.model import Record, Standing, Version
from rotatord.own import OURSELVES
from rotatord.registry import Registry
from rotatord.testing.clock import START
from rotatord.testing.world import World

VAULT = "address: 'http://127.0.0.1:1', auth: {{token: {reference}}}"


def loaded(
    directory: Path,
    *destinations: str,
    reference: str = "{file: secrets/token}",
    issuer: str = "tokens",
    extra: str = "",
) -> Configuration:
    """A configuration with one credential at an issuer of Vault tokens, whose own token is at the reference."""
    vault = VAULT.format(reference=reference)
    places = "".join(f"      - {place}\n" for place in destinations)
    (directory / "rotatord.yaml").write_text(
        f"issuers:\n  tokens: {{type: vault_token, {vault}, role: own}}\n"
        "  aws: {type: aws_iam_user, region: eu-west-1, access_key: "
        "{id: {file: aws.json, key: id}, secret: {file: aws.json, key: secret}}}\n"
        f"  plain: {{type: builtin}}\nbackends:\n  kv: {{type: vault, {vault}}}\n  files: {{type: file}}\n"
        "policies: {default: {max_age: 30d}}\n"
        f"credentials:\n  - name: ours\n    issuer: {issuer}\n    destinations:\n{places}{extra}"
    )
    return load(directory / "rotatord.yaml")


TOKENS = "    scope: {permissions: [own]}\n"
RAW = "{backend: files, path: secrets/token, format: raw, keys: {token: token}}"


def refused(*arguments: Any, **settings: Any) -> str:
    with pytest.raises(ConfigError) as error:
        loaded(*arguments, **settings)
    return str(error.value)


def test_what_a_reference_leads_to_is_our_own(tmp_path: Path) -> None:
    """However the path is spelled; and we ourselves are its consumer, although nobody said so."""
    spec = loaded(tmp_path, RAW, reference=f"{{file: '{tmp_path}/secrets/../secrets/token'}}", extra=TOKENS).specs["ours"]
    assert spec.own_of == ("backends.kv", "issuers.tokens")
    assert [consumer.type for consumer in spec.consumers] == [OURSELVES]


@pytest.mark.parametrize("reference", ["link", "far", "dir/token", "up/../dir/token"])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("written", ["secrets/token", "dir/token"])
def test_a_link_to_it_is_our_own(tmp_path: Path, reference: str, there: bool, written: str) -> None:
    """A link to the file, a link to that, a directory that is one, on either side; and before there is anything behind it. Else
    its replacement would end what we speak with."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "up").mkdir()
    (tmp_path / "link").symlink_to("secrets/token")
    (tmp_path / "far").symlink_to(tmp_path / "up" / ".." / "link")
    (tmp_path / "dir").symlink_to(tmp_path / "secrets")
    if there:
        (tmp_path / "secrets" / "token").write_text("x")
    place = RAW.replace("secrets/token", written)
    spec = loaded(tmp_path, place, reference=f"{{file: {reference}}}", extra=TOKENS).specs["ours"]
    assert spec.own_of == ("backends.kv", "issuers.tokens")


def test_a_link_into_a_mounted_secret_is_our_own(tmp_path: Path) -> None:
    """The kubelet changes what its own links lead to at each update: the place before them is what counts."""
    data = tmp_path / "mounted" / "..2026"
    data.mkdir(parents=True)
    (data / "token").write_text("x")
    (tmp_path / "mounted" / "..data").symlink_to("..2026")
    (tmp_path / "mounted" / "token").symlink_to("..data/token")
    (tmp_path / "link").symlink_to("mounted/token")
    text = "issuers: {tokens: {type: vault_token, address: 'https://vault:8200', auth: {token: {file: link}}}}\n"
    text += "backends: {cluster: {type: kubernetes, namespace: ops}}\ncredentials:\n  - name: ours\n    issuer: tokens\n"
    text += TOKENS + "    policy: {max_age: 30d}\n    parameters: {role: own}\n    destinations:\n"
    text += f"      - {{backend: cluster, name: own, keys: {{token: token}}, mounted_at: {tmp_path}/mounted}}\n"
    (tmp_path / "rotatord.yaml").write_text(text)
    assert load(tmp_path / "rotatord.yaml").specs["ours"].own_of == ("issuers.tokens",)


def test_a_ring_of_links_leads_nowhere() -> None:
    """And ends."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "a").symlink_to("b")
        Path(directory, "b").symlink_to("a")
        assert len(list(references.places_of(f"file:{directory}/a#k"))) < 50
    assert list(references.places_of("env:A")) == ["env:A"]


def test_a_secret_that_is_mounted_in_our_own_pod_is_our_own(tmp_path: Path) -> None:
    """Somebody else brings it there, so only a person can say where."""
    text = "issuers: {tokens: {type: vault_token, address: 'https://vault:8200', auth: {token: {file: /run/own/token}}}}\n"
    text += "backends: {cluster: {type: kubernetes, namespace: ops}}\ncredentials:\n  - name: ours\n    issuer: tokens\n"
    text += TOKENS + "    policy: {max_age: 30d}\n    parameters: {role: own}\n    destinations:\n"
    place = "      - {backend: cluster, name: own, keys: {token: token}, mounted_at: /run/own}\n"
    (tmp_path / "rotatord.yaml").write_text(text + place)
    spec = load(tmp_path / "rotatord.yaml").specs["ours"]
    assert spec.own_of == ("issuers.tokens",)
    (tmp_path / "rotatord.yaml").write_text(text + place.replace(", mounted_at: /run/own", ""))
    with pytest.raises(ConfigError, match="no consumers"):
        load(tmp_path / "rotatord.yaml")


def test_a_key_of_a_document_is_our_own(tmp_path: Path) -> None:
    """Both parts of a key lie in one document, and switch in one write."""
    place = "{backend: files, path: aws.json, keys: {id: access_key_id, secret: secret_access_key}}"
    spec = loaded(tmp_path, place, issuer="aws", extra="    parameters: {user: rotatord}\n").specs["ours"]
    assert spec.own_of == ("issuers.aws",)


def test_what_lies_elsewhere_is_not(tmp_path: Path) -> None:
    """Another file, another key, or a file of another form is nobody's but its readers'."""
    accepted = "    policy: {max_age: 30d, unproven: {overlap: 1s}}\n"
    for place in (
        "{backend: files, path: secrets/other, format: raw, keys: {token: token}}",
        "{backend: files, path: secrets/token.json, keys: {token: token}}",
    ):
        assert loaded(tmp_path, place, extra=TOKENS + accepted).specs["ours"].own_of == ()


def test_parts_in_two_documents_are_refused(tmp_path: Path) -> None:
    """They would not switch as one: for a moment we would sign with the id of one key and the secret of another."""
    reference = "{id: {file: id}, secret: {file: secret}}"
    home = "{backend: files, path: id, format: raw, keys: {id: access_key_id}}"
    second = "{backend: files, path: secret, format: raw, keys: {secret: secret_access_key}}"
    loaded(tmp_path, RAW, extra=TOKENS)
    text = (tmp_path / "rotatord.yaml").read_text()
    text = text.replace("{id: {file: aws.json, key: id}, secret: {file: aws.json, key: secret}}", reference)
    text = text.replace("issuer: tokens", "issuer: aws").replace(RAW, f"{home}\n      - {second}")
    (tmp_path / "rotatord.yaml").write_text(text.replace("scope: {permissions: [own]}", "parameters: {user: rotatord}"))
    with pytest.raises(ConfigError, match="cannot switch as one"):
        load(tmp_path / "rotatord.yaml")


def test_a_home_that_is_reached_with_it_is_refused(tmp_path: Path) -> None:
    """Were the new one bad, nobody could read the old one back."""
    said = refused(tmp_path, "{backend: kv, path: own, keys: {token: token}}", RAW, extra=TOKENS)
    assert "nobody could read the old one back" in said
    assert loaded(tmp_path, RAW, "{backend: kv, path: own, keys: {token: token}}", extra=TOKENS).specs["ours"].own_of


def test_ourselves_cannot_be_declared(tmp_path: Path) -> None:
    """Neither as a consumer of something else, nor as somebody else."""
    other = "{backend: files, path: other, format: raw, keys: {token: token}}"
    said = refused(tmp_path, other, extra=TOKENS + "    consumers: [{type: rotatord}]\n")
    assert "is not declared" in said
    said = refused(tmp_path, RAW, extra=TOKENS + "    consumers: [{type: process, name: rotatord, pid_file: x}]\n")
    assert "give yours another name" in said


def test_a_reference_to_a_key_of_a_file(tmp_path: Path) -> None:
    """A document of texts gives one of them; what is no such document, or has no such key, says so without its content."""
    (tmp_path / "a.json").write_text('{"token": "hidden-value"}')
    (tmp_path / "b.env").write_text("TOKEN=hidden-value\n")
    assert references.resolve({"file": "a.json", "key": "token"}, base_dir=str(tmp_path)) == "hidden-value"
    assert references.resolve({"file": "b.env", "key": "TOKEN"}, base_dir=str(tmp_path)) == "hidden-value"
    with pytest.raises(NotFound, match="nothing under 'other'") as missing:
        references.resolve({"file": "a.json", "key": "other"}, base_dir=str(tmp_path))
    (tmp_path / "a.json").write_text('["hidden-value"]')
    with pytest.raises(Invalid) as shapeless:
        references.resolve({"file": "a.json", "key": "token"}, base_dir=str(tmp_path))
    assert "hidden" not in str(missing.value) + str(shapeless.value)
    with pytest.raises(Invalid, match="needs a file that ends in"):
        references.resolve({"file": "plain", "key": "token"}, base_dir=str(tmp_path))


PAGE = Path(__file__).parents[2] / "docs" / "own-credentials.md"
BLOCKS = dict(re.findall(r"<!-- own: ([\w-]+) -->\n```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.mark.parametrize("name", ["vault-token", "vault-secret-id", "aws-key"])
def test_the_page_shows_what_is_our_own(tmp_path: Path, name: str) -> None:
    """Each configuration of the page is fine as it stands, and its credential is found to be ours."""
    (tmp_path / "rotatord.yaml").write_text(BLOCKS[name])
    (spec,) = load(tmp_path / "rotatord.yaml").specs.values()
    assert spec.own_of


def test_what_is_declared_no_more_is_still_ours_while_we_speak_with_it(tmp_path: Path) -> None:
    """By the settings in force, not by what was declared when it was seen last."""
    configuration = loaded(tmp_path, RAW, extra=TOKENS)
    spec = configuration.specs["ours"]
    around = surroundings(configuration.state_dir, configuration.base_dir)
    assert Registry(configuration, around).own_of(spec) == ("backends.kv", "issuers.tokens")
    policy = "    policy: {max_age: 30d, unproven: {overlap: 1s}}\n"
    moved = loaded(tmp_path, RAW, extra=TOKENS + policy, reference="{file: elsewhere}")
    assert Registry(moved, around).own_of(spec) == ()


@pytest.mark.parametrize("verb", ["contain", "retire"])
def test_what_we_speak_with_is_not_ended_before_there_is_another(verb: str) -> None:
    """Nobody could make one any more: it is refused, with what to do instead."""
    world = World(1)
    world.add_issuer()
    version = Version(generation=3, rotation="r", issuer="issuer", ref="ref-3", fingerprint="f" * 64, minted_at=START)
    ours = replace(world.spec("ours"), own_of=("issuers.issuer",))
    record = Record(name="ours", spec=ours, standing=Standing.MANAGED, generation=3, current=version)
    accept = react.Accept(lambda _: world.issuers["issuer"].traits)
    command = parse(verb, "ours", "uid:0(tester)", {"reason": "seen in public"})
    with pytest.raises(Refused, match="locked out"):
        accept(record, command, START, world.ids)
    assert accept(replace(record, spec=world.spec("ours")), command, START, world.ids)
