"""The configuration: one YAML file or a directory of them, checked in full, or refused with every mistake at once.

Loading does no I/O but reading those files: plugins are built to see whether their settings are fine, and let go again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from rotatord import references
from rotatord.api.settings import ApiSettings
from rotatord.budget import Limit
from rotatord.clock import SystemClock
from rotatord.configuration import checks
from rotatord.configuration.credentials import Builder, located
from rotatord.configuration.document import Document
from rotatord.configuration.findings import Findings
from rotatord.configuration.head import Head, check_plugins, documents, files_at, read_head, read_policies
from rotatord.configuration.schema import CREDENTIALS, DeadmanSection, LimitsSection, LogSection, WebhookSection
from rotatord.errors import ConfigError
from rotatord.model import Policy, Spec, digest_of
from rotatord.own import Ownership
from rotatord.ports import Plugins, Surroundings
from rotatord.registry import Find, PluginSettings, Registry, installed
from rotatord.settings import Settings, reference_of

QUOTA_SHARE = 0.95  # of what an issuer says that it answers; the rest is for work that has begun when it is used up

SurroundingsFactory = Callable[[str, str], Surroundings]  # state directory, base directory
Visit = Callable[[Spec, Plugins, Head], None]  # a credential, the plugins, and the rest of the configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a configuration says, all references between its parts resolved. Holds no secrets, only references to them."""

    installation: str | None  # None: made at first start and kept in the state directory
    state_dir: str
    base_dir: str  # relative paths count from here
    files: tuple[str, ...]
    specs: dict[str, Spec]
    renames: dict[str, str]  # new name: former name
    issuers: dict[str, PluginSettings]
    backends: dict[str, PluginSettings]
    policies: dict[str, Policy]
    api: ApiSettings = field(default_factory=ApiSettings)
    notices: tuple[WebhookSection, ...] = ()
    deadman: DeadmanSection | None = None
    limits: LimitsSection = field(default_factory=LimitsSection)
    log: LogSection = field(default_factory=LogSection)
    database: dict[str, str] | None = None  # a reference to its URL, or the URL; None: a file in the state directory
    lease_seconds: float = 15.0  # of a journal that several daemons share
    fingerprint_key: dict[str, str] | None = None  # a reference; None: a file in the state directory
    digest: str = ""  # of the files' contents
    stamp: str = ""  # see the function of this name; as it was before the files were read
    complete: bool = True  # False: read without its credentials


def load(
    path: str | Path,
    *,
    settings: Settings | None = None,
    surroundings_factory: SurroundingsFactory | None = None,
    find: Find = installed,
    credentials: bool = True,
    visit: Visit | None = None,
) -> Configuration:
    """Read and check. ``settings``: what ROTATORD_* variables override; None means that the environment is not looked at.

    ``credentials`` False: everything but those, in a moment however many there are; for a start with files whose digest
    was brought in line before. ``visit`` is given each credential in turn, which is then not kept; after the first mistake no
    more of them. Raises ConfigError with every mistake, each with ``file:line``.
    """
    path = Path(path)
    taken = stamp(path)
    base_dir = str((path if path.is_dir() else path.parent).absolute())
    findings = Findings()
    files, digest = documents(path, findings)
    head = read_head(files, str(path), findings)
    _of_the_files(files, findings)
    over = settings if settings is not None else Settings.nothing()
    state_dir = _state_dir(head, over, base_dir)
    around = (surroundings_factory or surroundings)(state_dir, base_dir)
    now = around.now()
    read_policies(head, now, findings)
    registry = Registry(head, around, find=find)
    try:
        check_plugins(
            head, lambda group, name: registry.issuer(name) if group == "issuers" else registry.backend(name), findings
        )
        builder = Builder(head, now, findings)
        context = checks.Context(head, registry, base_dir, Ownership(head.issuers, head.backends, base_dir))
        specs: dict[str, Spec] = {}
        for document in files if credentials else ():
            for declared, raw, place in located(builder, document.entries(CREDENTIALS), document.file):
                spec = context.own(declared)
                findings.troubles(raw, (), checks.troubles(context, spec, raw), place)
                if visit is None:
                    specs[spec.name] = spec
                elif not findings:
                    visit(spec, registry, head)
        renames = builder.finished()
    finally:
        registry.close()
    _of_the_files(files, findings)
    if findings:
        raise ConfigError(findings.all())
    configuration = _configuration(
        head, over, specs=specs, renames=renames, base_dir=base_dir, digest=digest, files=[d.file for d in files]
    )
    return replace(configuration, stamp=taken, complete=credentials)


def load_for_start(path: str | Path, *, settings: Settings | None = None) -> Configuration:
    """Without its credentials where there is a journal that may know them already. Raises ConfigError as :func:`load` does."""
    try:
        head = load(path, settings=settings, credentials=False)
    except ConfigError:
        return load(path, settings=settings)  # with every mistake, not only those of the head
    return head if head.database or journal_of(head).exists() else load(path, settings=settings)


def journal_of(configuration: Configuration) -> Path:
    """Where its journal lies while it lies in a file."""
    return Path(configuration.state_dir).absolute() / "journal.db"


def journal_url(configuration: Configuration) -> str | Callable[[], str]:
    """Where its journal lies; what may hold a password is read anew whenever it is asked."""
    database = configuration.database
    if database is None:
        return f"sqlite:///{journal_of(configuration)}"
    if "url" in database:
        return database["url"]
    return partial(references.resolve, database, base_dir=configuration.base_dir)


def limits_of(
    configuration: Configuration,
    quotas: Mapping[str, tuple[int, float]] | None = None,
    principals: Mapping[str, Callable[[], str]] | None = None,
) -> dict[str, Limit]:
    """The budget of every configured issuer. ``quotas``: what issuers say of themselves, for those of which nothing is
    configured, and ``principals``: whose quota that is, where it need not be theirs alone."""
    limits = configuration.limits
    budgets = {}
    for name in configuration.issuers:
        section = limits.issuers.get(name, limits.issuer)
        a_minute, of = section.per_minute, None
        calls = max(1, int(a_minute)) if a_minute else 0  # less than one a minute is one in more than a minute
        seconds = 60.0 * calls / a_minute if a_minute else 60.0
        if not a_minute and quotas and name in quotas:
            calls, seconds = max(1, int(quotas[name][0] * QUOTA_SHARE)), quotas[name][1]
            of = (principals or {}).get(name)
        budgets[name] = Limit(at_once=section.concurrency, calls=calls, seconds=seconds, of=of)
    return budgets


def stamp(path: str | Path) -> str:
    """Changes whenever a file of the configuration does; looks at sizes and dates only, so it may be asked all the time."""
    seen = []
    for file in files_at(Path(path)):
        try:
            status = file.stat()
        except OSError as error:
            seen.append((str(file), error.errno or 0, 0, 0))
        else:
            seen.append((str(file), status.st_ino, status.st_size, status.st_mtime_ns))
    return digest_of(seen)


def _state_dir(head: Head, over: Settings, base_dir: str) -> str:
    """Absolute, so that daemon, plugins and commands mean the same place wherever each was started: one in a file counts
    from the file's directory, one in a variable, as everything in a shell, from the working directory."""
    if over.state_dir:
        return str(Path(over.state_dir).absolute())
    return str(Path(base_dir, head.section.state_dir))


def _of_the_files(files: list[Document], findings: Findings) -> None:
    for document in files:
        findings.extend(document.problems)


def surroundings(state_dir: str, base_dir: str, installation: str = "") -> Surroundings:
    """What plugins are given: the machine's clock, and references read from files and variables."""
    return Surroundings(
        installation=installation,
        state_dir=state_dir,
        now=SystemClock().now,
        secret=partial(references.resolve, base_dir=base_dir),
        base_dir=base_dir,
    )


def _configuration(
    head: Head, over: Settings, *, specs: dict[str, Spec], renames: dict[str, str], base_dir: str, digest: str, files: list[str]
) -> Configuration:
    section = head.section
    return Configuration(
        installation=over.installation or section.installation,
        state_dir=_state_dir(head, over, base_dir),
        base_dir=base_dir,
        files=tuple(files),
        specs=specs,
        renames=renames,
        issuers=head.issuers,
        backends=head.backends,
        policies=head.policies,
        api=over.api(section.api),
        notices=tuple(section.notices),
        deadman=section.deadman,
        limits=section.limits,
        log=over.log(section.log),
        database=reference_of(over.database_url) or section.database.url,
        lease_seconds=over.lease_seconds or section.database.lease.total_seconds(),
        fingerprint_key=reference_of(over.fingerprint_key) or section.fingerprint_key,
        digest=digest,
    )
