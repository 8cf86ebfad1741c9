"""Draws the parts of README and manual that come from the code. ``--check`` only says whether they are current."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import chart  # beside this file
import cloudflare_answers
import faults
import incidents

from rotatord import cloudflare_templates, views
from rotatord.cli import manual
from rotatord.clock import SystemClock
from rotatord.commands import VERBS
from rotatord.config import load
from rotatord.configuration.manual import tables
from rotatord.machine import diagram
from rotatord.model import Destination, JsonMap
from rotatord.permission_forms import ServiceAccount, hcl, iam, rbac, scope
from rotatord.permissions import Grants, Needs
from rotatord.ports import Surroundings
from rotatord.registry import BACKENDS, ISSUERS, installed
from rotatord.rights import Right

ROOT = Path(__file__).resolve().parents[1]


def lifecycle() -> str:
    return f"```mermaid\n{diagram()}\n```"


def status() -> str:
    rows = "\n".join(f"| `{name}` | {meaning.replace('|', '/')} |" for name, meaning in views.STATUS_FIELDS.items())
    return f"| field | meaning |\n|---|---|\n{rows}"


def verbs() -> str:
    def arguments(name: str) -> str:
        fields = VERBS[name].schema.model_fields
        return ", ".join(f"`{field}`" + ("" if info.is_required() else "?") for field, info in fields.items()) or "none"

    rows = "\n".join(
        f"| `{verb.name}` | {verb.right.value} | {arguments(verb.name)} | {verb.help} |" for verb in VERBS.values()
    )
    return f"| verb | right | arguments | does |\n|---|---|---|---|\n{rows}"


def vault_policy(name: str, ask: Callable[[Any], Sequence[Right]], group: str, kind: str) -> str:
    """What one plugin says it needs, with names in capitals that a reader fills in."""
    connection = {"address": "https://vault.example:8200", "auth": {"token": {"env": "UNUSED"}}}
    nowhere = Surroundings(installation="", state_dir="", now=SystemClock().now, secret=str)
    grants = Grants()
    for right in ask(installed(group)[kind]()(connection, nowhere)):
        grants.add(right)
    return "\n".join(["```hcl", f"# policy: {name}", *hcl(grants), "```"])


ROLE: JsonMap = {"role": "ROLE", "mount": "MOUNT"}
DOCUMENT = Destination(backend="kv", address={"mount": "KV", "path": "PATH"}, keys={})
TOKENS, SECRET_IDS, KV = (ISSUERS, "vault_token"), (ISSUERS, "vault_approle"), (BACKENDS, "vault")
VAULT_POLICIES: dict[str, tuple[tuple[str, str], Callable[[Any], Sequence[Right]]]] = {
    "rotatord-vault-token": (TOKENS, lambda issuer: issuer.rights({}, {"role": "ROLE", "period": "24h"})),
    "rotatord-vault-token-no-role": (TOKENS, lambda issuer: issuer.rights({}, {})),
    "rotatord-vault-approle": (SECRET_IDS, lambda issuer: issuer.rights({}, ROLE)),
    "rotatord-vault-approle-sessions": (SECRET_IDS, lambda issuer: issuer.session_rights({}, ROLE)),
    "rotatord-vault-kv": (KV, lambda backend: backend.rights(DOCUMENT, home=True)),
    "rotatord-vault-kv-retire": (KV, lambda backend: backend.retire_rights(DOCUMENT)),
}


def example_rights(page: str, name: str, language: str, form: Callable[[Grants], Iterable[str]]) -> str:
    """What ``rotatord rights`` prints for the configuration of this name that stands on the page itself."""
    found = re.search(rf"```yaml\n(# configuration: {re.escape(name)}\n.*?)```", (ROOT / page).read_text(), re.DOTALL)
    if not found:
        raise ValueError(f"{page} has no configuration {name}")
    needs = Needs()
    with TemporaryDirectory() as directory:
        file = Path(directory, "rotatord.yaml")
        file.write_text(found[1])
        load(file, visit=needs.visit)
    (grants,) = needs.grants.values()
    return "\n".join([f"```{language}", *form(grants), "```"])


EXAMPLES: dict[str, tuple[str, str, Callable[[Grants], Iterable[str]]]] = {
    "rotatord-kubernetes": ("docs/kubernetes.md", "yaml", partial(rbac, account=ServiceAccount("rotatord", "rotatord"))),
    "rotatord-aws": ("docs/aws.md", "json", iam),
    "rotatord-cloudflare": ("docs/cloudflare.md", "yaml", scope),
}

# Which pages hold which drawn part, between `<!-- NAME: drawn by make docs -->` and `<!-- end of NAME -->`.
PARTS: dict[str, tuple[Callable[[], str], tuple[str, ...]]] = {
    "lifecycle": (lifecycle, ("README.md", "docs/lifecycle.md")),
    "commands": (manual.commands, ("docs/cli.md",)),
    "status": (status, ("docs/api.md",)),
    "keys": (tables, ("docs/configuration.md",)),
    "verbs": (verbs, ("docs/api.md",)),
    "values": (chart.table, ("helm/rotatord/README.md",)),
    "faults": (faults.table, ("docs/faults.md",)),
    "incidents": (incidents.table, ("docs/incidents.md",)),
    "cloudflare-answers": (cloudflare_answers.table, ("docs/cloudflare.md",)),
    "cloudflare-templates": (cloudflare_templates.table, ("docs/cloudflare.md",)),
    **{name: (partial(vault_policy, name, ask, *plugin), ("docs/vault.md",)) for name, (plugin, ask) in VAULT_POLICIES.items()},
    **{
        name: (partial(example_rights, page, name, language, form), (page,))
        for name, (page, language, form) in EXAMPLES.items()
    },
}


def drawn(text: str, name: str, part: str) -> str:
    """A page with one part drawn anew; ValueError where it has no place for it."""
    start, end = f"<!-- {name}: drawn by make docs -->\n", f"<!-- end of {name} -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"no {start.strip()} ... {end} in the page")
    return f"{before}{start}\n{part}\n\n{end}{after}"


def current() -> dict[Path, str]:
    """Every page that has a drawn part, as it should be."""
    pages: dict[Path, str] = {}
    for name, (draw, places) in PARTS.items():
        part = draw()
        for place in places:
            path = ROOT / place
            pages[path] = drawn(pages.get(path) or path.read_text(), name, part)
    return pages


def main() -> int:
    stale = {path: text for path, text in current().items() if path.read_text() != text}
    if "--check" in sys.argv:
        return 1 if stale else 0
    for path, text in stale.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
