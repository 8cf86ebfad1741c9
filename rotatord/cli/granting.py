"""The command that tells what rotatord has to be allowed: rights."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from rotatord.cli.ending import Ending, Exit
from rotatord.cli.options import Output, place_of
from rotatord.cli.output import Form, emit, line, printable, remark
from rotatord.cli.running import Config

SCHEMA = "rotatord.rights/v1"


class Language(StrEnum):
    """The languages in which rights are granted."""

    RBAC = "rbac"
    VAULT = "vault"
    IAM = "iam"
    CLOUDFLARE = "cloudflare"
    ALL = "all"


_SYSTEMS = {
    Language.RBAC: ("kubernetes",),
    Language.VAULT: ("vault",),
    Language.IAM: ("aws",),
    Language.CLOUDFLARE: ("cloudflare",),
    Language.ALL: ("kubernetes", "vault", "aws", "cloudflare"),
}


def rights(
    context: typer.Context,
    *,
    config: Config = "",
    language: Annotated[
        Language, typer.Option("--as", metavar="LANGUAGE", help="rbac (Kubernetes), vault, iam (AWS), cloudflare or all.")
    ] = Language.ALL,
    service_account: Annotated[
        str, typer.Option("--service-account", metavar="NS/NAME", help="Bind the Roles to this ServiceAccount.")
    ] = "",
    retire: Annotated[bool, typer.Option("--retire", help="Also what only the command retire needs.")] = False,
    output: Output = Form.TABLE,
) -> None:
    """Print the least permissions that a configuration needs elsewhere, ready to be granted. Touches nothing outside."""
    from rotatord.permissions import Needs  # noqa: PLC0415 - pydantic and the plugins' settings

    account = _account(service_account)
    needs = Needs(retire=retire)
    _collect(needs, config or place_of(context).config)
    if output is Form.TABLE:
        _print(needs, language, account)
    else:
        emit(_page(needs, language), output)
    for name, why in needs.silent.items():
        remark(printable(f"{name}: says nothing about its rights" + (f": {why}" if why else "")))


def _account(text: str) -> Any:
    from rotatord.permission_forms import ServiceAccount  # noqa: PLC0415

    if not text:
        return None
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise Ending(Exit.USAGE, f"--service-account is NAMESPACE/NAME, not {text!r}")
    return ServiceAccount(namespace, name)


def _collect(needs: Any, config: str) -> None:
    from rotatord.config import load  # noqa: PLC0415
    from rotatord.errors import ConfigError  # noqa: PLC0415
    from rotatord.settings import Settings  # noqa: PLC0415

    def visit(spec: Any, plugins: Any, head: Any) -> None:
        if not needs.grants:  # the first of them: once is enough
            needs.of_itself(head.section.model_dump(), plugins, head)
        needs.visit(spec, plugins, head)

    try:
        load(config, settings=Settings.from_environment(), visit=visit)
    except ConfigError as error:
        raise Ending(Exit.USAGE, *(str(problem) for problem in error.problems)) from None


def _print(needs: Any, language: Language, account: Any) -> None:
    """The policies one after the other. A document that stands alone has no heading, so that JSON stays JSON."""
    from rotatord.permission_forms import FORMS, cautions, heading, rbac  # noqa: PLC0415

    chosen = [(identity, grants) for identity, grants in needs.grants.items() if identity.system in _SYSTEMS[language]]
    chosen.sort(key=lambda item: _SYSTEMS[language].index(item[0].system))
    for identity, grants in chosen:
        if identity.system == "aws" and len(chosen) == 1:
            remark(heading(identity, grants))
        else:
            line(f"# {heading(identity, grants)}")
        lines = rbac(grants, account) if identity.system == "kubernetes" else FORMS[identity.system](grants)
        sys.stdout.writelines(f"{text}\n" for text in lines)
        for caution in cautions(identity, grants):
            remark(printable(caution))
    for system in _SYSTEMS[language]:
        if system not in {identity.system for identity, _ in chosen}:
            remark(f"nothing that tells its rights needs any at {system}")


def _page(needs: Any, language: Language) -> dict[str, Any]:
    from rotatord.permission_forms import rows  # noqa: PLC0415

    return {
        "schema": SCHEMA,
        "rights": [
            {"system": identity.system, "at": dict(identity.shown), "for": [*grants.users], "rules": rows(identity, grants)}
            for identity, grants in needs.grants.items()
            if identity.system in _SYSTEMS[language]
        ],
        "silent": [{"name": name, "why": why} for name, why in needs.silent.items()],
    }
