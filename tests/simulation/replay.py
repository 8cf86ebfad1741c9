"""One seed alone, with its story: ``python -m tests.simulation.replay SEED [--without ID ...] [--shrink]``."""

from __future__ import annotations

import argparse

from tests.simulation.seeds import play
from tests.simulation.shrink import shrunk


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--without", action="append", default=[], help="a credential, a fault or a deed that is left out")
    parser.add_argument("--shrink", action="store_true", help="leave out whatever it fails without")
    parser.add_argument("--lines", type=int, default=80, help="of the trace's end")
    arguments = parser.parse_args()
    without = frozenset(arguments.without)
    run = play(arguments.seed, without)
    if arguments.shrink and run.problems:
        without, _ = shrunk(arguments.seed, run.problems)
        run = play(arguments.seed, without)
    for event in run.fleet.journal.events:
        print(event.time.time(), event.credential, event.action, event.outcome, event.version, str(event.evidence)[:200])
    print(run.fleet.tail(arguments.lines))
    print("happened:", " ".join(run.fleet.fates.happened))
    print("left out:", " ".join(sorted(without)))
    print("\n".join(run.problems) or "no problems")
    return 1 if run.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
