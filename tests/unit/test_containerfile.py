"""What can be told of the image without building it: who runs, what is copied, and that nothing unchecked gets in."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import rotatord

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Containerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its words, comments left out and broken lines joined."""
    kept = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", kept)
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def of(word: str) -> list[str]:
    """All of one kind."""
    return [rest for known, rest in instructions() if known == word]


def last_stage() -> list[tuple[str, str]]:
    """What makes the image that is shipped."""
    found = instructions()
    start = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def test_it_runs_as_a_number_that_is_not_root() -> None:
    """Kubernetes can tell only of a number that it is not root; nothing after it turns back."""
    users = [rest for word, rest in last_stage() if word == "USER"]
    assert len(users) == 1
    assert all(int(part) >= 1000 for part in users[0].split(":"))


def test_the_chart_runs_it_as_the_same_user() -> None:
    """The state directory in the image belongs to whom the chart runs."""
    values = (ROOT / "helm" / "rotatord" / "values.yaml").read_text()
    user, _, group = of("USER")[0].partition(":")
    assert (f"runAsUser: {user}\n" in values, f"runAsGroup: {group}\n" in values) == (True, True)


def test_nothing_is_fetched_but_what_the_lock_knows() -> None:
    """No ADD, no address, no tag that moves under us without notice; packages with hashes, and no index after them."""
    assert not of("ADD")
    assert "://" not in TEXT
    bases = [base.split(" AS ")[0] for base in of("FROM")]
    arguments = dict(argument.split("=", 1) for argument in of("ARG"))
    for base in bases:
        tag = base.replace("${PYTHON}", arguments["PYTHON"]).rpartition(":")[2]
        assert re.fullmatch(r"3\.\d+-slim", tag)
    for run in of("RUN"):
        for command in re.findall(r"\bpip\b.* (?:download|install|wheel) .*", run.replace("&&", "\n")):
            assert "--no-index" in command or {"--require-hashes", "--only-binary=:all:"} <= set(command.split())


def test_what_is_copied_is_there_and_is_everything() -> None:
    """Each path exists, and no package of the product is left behind."""
    sources = [word for copy in of("COPY") if "--from=" not in copy for word in copy.split()[:-1]]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.partition(".")[0] for name in project["tool"]["setuptools"]["packages"]}
    assert packages | {"pyproject.toml", "requirements.lock", project["project"]["readme"]} <= set(sources)
    admitted = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    assert admitted == set(sources)


def test_it_starts_the_daemon_without_a_shell() -> None:
    """The entry point is a list, so that signals reach the daemon itself; whoever runs it asks for its health."""
    assert of("ENTRYPOINT") == ['["rotatord"]']
    assert of("CMD") == ['["run"]']
    assert not of("HEALTHCHECK")
    assert not of("SHELL")
    assert not [rest for word, rest in last_stage() if word == "RUN"]


def test_it_says_what_it_is() -> None:
    """With the version of the package."""
    labels = dict(re.findall(r'([\w.]+)="([^"]*)"', " ".join(of("LABEL"))))
    assert labels["org.opencontainers.image.version"] == rotatord.__version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
