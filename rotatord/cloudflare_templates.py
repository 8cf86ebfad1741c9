"""The least that common jobs at Cloudflare need, by name. One table: what the manual shows is drawn from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Template:
    """``grants``: a permission and the resource that it is for. ``needs``: what has to be given; ``takes``: what may be, and
    brings its own grants with it."""

    does: str
    grants: tuple[tuple[str, str], ...]
    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()


ZONE, ACCOUNT, BUCKET, WORKER = "zone/{zone}", "account/{account}", "r2/{bucket}", "worker/{worker}"
PLACES = {"zone": ZONE, "account": ACCOUNT, "bucket": BUCKET, "worker": WORKER}
TEMPLATES: dict[str, Template] = {
    "dns-edit": Template("edit the DNS records of one zone", (("Zone.DNS:Edit", ZONE),), ("zone",)),
    "dns-read": Template("read the DNS records of one zone", (("Zone.DNS:Read", ZONE),), ("zone",)),
    "dns-edit-by-name": Template(
        "edit the DNS records of one zone that is looked up by its name (external-dns, cert-manager, certbot)",
        (("Zone.Zone:Read", ZONE), ("Zone.DNS:Edit", ZONE)),
        ("zone",),
    ),
    "cache-purge": Template("purge the cache of one zone", (("Zone.Cache Purge:Purge", ZONE),), ("zone",)),
    "analytics-read": Template(
        "read the analytics of one zone, and those of its account where one is given",
        (("Zone.Analytics:Read", ZONE), ("Account.Account Analytics:Read", ACCOUNT)),
        ("zone",),
        ("account",),
    ),
    "logs-read": Template("pull the logs of one zone", (("Zone.Logs:Read", ZONE),), ("zone",)),
    "waf-edit": Template("change the firewall rules of one zone", (("Zone.Zone WAF:Edit", ZONE),), ("zone",)),
    "certificates-edit": Template("order certificates for one zone", (("Zone.SSL and Certificates:Edit", ZONE),), ("zone",)),
    "load-balancers-edit": Template(
        "change the load balancers of one zone, and the pools of its account where one is given",
        (("Zone.Load Balancers:Edit", ZONE), ("Account.Load Balancing: Monitors and Pools:Edit", ACCOUNT)),
        ("zone",),
        ("account",),
    ),
    "worker-deploy": Template(
        "upload all Workers of one account, new ones too, and set routes of a zone if one is given",
        (("Account.Workers Scripts:Edit", ACCOUNT), ("Zone.Workers Routes:Edit", ZONE)),
        ("account",),
        ("zone",),
    ),
    "worker-deploy-one": Template(
        "upload one Worker that is there already, and set routes of a zone if one is given; for tokens of an account",
        (("Worker.Individual Workers:Editor", WORKER), ("Zone.Workers Routes:Edit", ZONE)),
        ("worker",),
        ("zone",),
    ),
    "worker-logs": Template(
        "follow the logs of the Workers of one account", (("Account.Workers Tail:Read", ACCOUNT),), ("account",)
    ),
    "kv-edit": Template(
        "change the keys of Workers KV of one account", (("Account.Workers KV Storage:Edit", ACCOUNT),), ("account",)
    ),
    "pages-deploy": Template("deploy Pages of one account", (("Account.Pages:Edit", ACCOUNT),), ("account",)),
    "r2-read": Template(
        "read the objects of one R2 bucket", (("R2.Workers R2 Storage Bucket Item:Read", BUCKET),), ("bucket",)
    ),
    "r2-edit": Template(
        "read and write the objects of one R2 bucket", (("R2.Workers R2 Storage Bucket Item:Edit", BUCKET),), ("bucket",)
    ),
    "mint": Template(
        "make tokens of one account, as rotatord's own; zones whose tokens are made one by one have to be granted beside it",
        (("Account.Account API Tokens:Edit", ACCOUNT),),
        ("account",),
    ),
}


def filled(name: str, given: Mapping[str, str]) -> list[tuple[str, str]]:
    """The grants of a template for what was given."""
    wanted = {place: place.format(**{key: given[key]}) for key, place in PLACES.items() if key in given}
    return [(word, wanted[place]) for word, place in TEMPLATES[name].grants if place in wanted]


def table() -> str:
    """The rows of the manual's page."""
    rows = []
    for name, template in sorted(TEMPLATES.items()):
        given = ", ".join([*(f"`{key}`" for key in template.needs), *(f"`{key}`?" for key in template.takes)])
        shown = {key: key.upper() for key in PLACES}
        grants = "; ".join(f"`{word}` on `{place.format(**shown)}`" for word, place in template.grants)
        rows.append(f"| `{name}` | {template.does} | {given} | {grants} |")
    return "\n".join(["| template | for those who | given | grants |", "|---|---|---|---|", *rows])
