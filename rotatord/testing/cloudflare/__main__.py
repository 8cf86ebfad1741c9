"""A strict Cloudflare to try things out against, on this machine only. Nothing of it is kept when it ends.

It prints where it is, as lines for a shell, and serves until it is ended (Ctrl-C).
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from rotatord.testing.cloudflare import AT_ONCE, LIKE_CLOUDFLARE, FakeCloudflare


def main() -> None:
    reader = argparse.ArgumentParser(prog="python -m rotatord.testing.cloudflare", description=__doc__)
    reader.add_argument("--port", type=int, default=0, help="on loopback (default: a free one)")
    reader.add_argument(
        "--seed", type=int, default=0, help="the same seed makes the same ids and spreads changes in the same way"
    )
    reader.add_argument(
        "--spread",
        choices=("at-once", "like-cloudflare"),
        default="like-cloudflare",
        help="how changes become known: everywhere at once, or as late as at Cloudflare (default)",
    )
    reader.add_argument("--zone", action="append", help="a zone of the account, again for another (default: example.com)")
    reader.add_argument(
        "--owner", choices=("account", "user"), default="account", help="whose the first token is (default: account)"
    )
    reader.add_argument(
        "--permission",
        action="append",
        default=[],
        help="what else the first token may do, again for more (always: make tokens of its owner, read zones)",
    )
    chosen = reader.parse_args()
    fake = FakeCloudflare(
        seed=chosen.seed,
        port=chosen.port,
        lags=AT_ONCE if chosen.spread == "at-once" else LIKE_CLOUDFLARE,
        zones=chosen.zone or ("example.com",),
    )
    parent = fake.parent_token("Zone Read", *chosen.permission, owner=chosen.owner)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with fake:
        lines = {
            "CLOUDFLARE_BASE_URL": fake.url,
            "CLOUDFLARE_ACCOUNT_ID": fake.account_id,
            "CLOUDFLARE_API_TOKEN": parent.value,  # of an account that exists only here
        }
        for name, value in lines.items():
            sys.stdout.write(f"export {name}={value}\n")
        sys.stdout.flush()
        ended.wait()


if __name__ == "__main__":
    main()
