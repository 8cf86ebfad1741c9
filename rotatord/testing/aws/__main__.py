"""``python -m rotatord.testing.aws``: a strict AWS to try things out against. Nothing of it is kept when it ends."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from rotatord.testing.aws import AT_ONCE, LIKE_AWS, REGION, FakeAws


def main() -> None:
    reader = argparse.ArgumentParser(prog="python -m rotatord.testing.aws", description=__doc__)
    reader.add_argument("--port", type=int, default=0, help="on loopback (default: a free one)")
    reader.add_argument("--seed", type=int, default=0, help="the same seed spreads changes in the same way")
    reader.add_argument("--spread", choices=("at-once", "like-aws"), default="like-aws", help="how changes become known")
    chosen = reader.parse_args()
    fake = FakeAws(seed=chosen.seed, port=chosen.port, lags=AT_ONCE if chosen.spread == "at-once" else LIKE_AWS)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with fake:
        lines = {
            "AWS_ENDPOINT_URL": fake.url,
            "AWS_ACCESS_KEY_ID": fake.admin.id,
            "AWS_SECRET_ACCESS_KEY": fake.admin.secret,  # of an account that exists only here
            "AWS_DEFAULT_REGION": REGION,
        }
        for name, value in lines.items():
            sys.stdout.write(f"export {name}={value}\n")
        sys.stdout.flush()
        ended.wait()


if __name__ == "__main__":
    main()
