"""What a run comes to: JSON with commit, seed and machine in ``tests/crash/results`` (never committed), and a summary."""

from __future__ import annotations

import json
import resource
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.__main__ import commit, machine
from tests.crash.crash_run import Run

RESULTS = Path(__file__).resolve().parent / "results"
SCHEMA = "rotatord.crash/v1"


def report(run: Run, seconds: float, counts: dict[str, Any]) -> dict[str, Any]:
    """The whole run as JSON-like values. ``counts``: what the applications counted themselves."""
    observer, company = run.observer, run.company
    own = Counter[str]()
    for each in counts.values():
        own.update(each["counts"])
    return {
        "schema": SCHEMA,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "seed": run.seed,
        "machine": machine(),
        "seconds": round(seconds, 1),
        "processor_seconds": round(_processor_seconds(), 1),
        "disk": company.scene.disk.kind,
        "kills": run.kills,
        "struck": dict(run.struck.most_common()),
        "blows": dict(Counter(fell.blow.name for fell in run.fell)),
        "rotations": sum(told.completed for told in company.told.values()),
        "turned_back": sum(told.turned_back for told in company.told.values()),
        "requests": observer.requests,
        "requests_by_their_own_count": dict(own),
        "refused": observer.counts["refused"],
        "orphans": observer.counts["orphans"],
        "doubles": observer.counts["doubles"],
        "foreign_touched": observer.counts["foreign"],
        "unsettled": observer.counts["unsettled"],
        "halted": observer.halts,
        "violations": observer.violations,
        "calm_phases": {"number": len(run.calms), "longest_to_settle_seconds": round(max(run.calms, default=0.0), 1)},
        "asked_by_a_person": {"rotate": run.rotations_asked, "resume": run.resumed},
        "ended_by_themselves": dict(company.ended),
        "publications_per_minute": {
            name: {"before": round(before, 1), "after": round(after, 1), "blows": number}
            for name, (before, after, number) in run.paces().items()
        },
    }


def _processor_seconds() -> float:
    """Of this process and of all that it started and that have ended: servers, daemons, applications."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def write(told: dict[str, Any]) -> Path:
    """A file of its own."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-seed-{told['seed']}.json"
    path.write_text(json.dumps(told, indent=2) + "\n")
    return path


def summary(told: dict[str, Any]) -> str:
    """For whoever watches."""
    calm = told["calm_phases"]
    blows = sum(told["blows"].values())
    lines = [
        f"seed {told['seed']}, {told['commit']}",
        f"{told['kills']} times kill -9 and {blows} other blows",
        f"{told['seconds']:.0f} s, {told['processor_seconds']:.0f} s of them of a processor",
        f"disk: {told['disk']}; {calm['number']} calm phases, the longest settled in {calm['longest_to_settle_seconds']} s",
        f"{told['rotations']} rotations, {told['turned_back']} turned back, {told['requests']} requests",
        ", ".join(f"{told[what]} {what}" for what in ("refused", "orphans", "doubles", "foreign_touched", "unsettled")),
        f"{len(told['halted'])} halted",
    ]
    for name, pace in told["publications_per_minute"].items():
        lines.append(f"{name}: {pace['before']} then {pace['after']} publications a minute (medians over {pace['blows']})")
    lines += [f"halted: {each}" for each in told["halted"]]
    lines += [f"ended by itself ({times} times): {what}" for what, times in told["ended_by_themselves"].items()]
    lines += told["violations"][:40]
    return "\n".join(lines)
