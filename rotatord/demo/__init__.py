"""``rotatord demo``: a real issuer, a real consumer and three rotations on loopback, one of which must be undone.

Nothing here is part of the daemon. The service under rotation (:mod:`rotatord.demo.consumer`) and what its token opens
(:mod:`rotatord.demo.forecasts`) are processes of their own and know of rotatord no more than any consumer does.
"""


def run() -> int:
    """Play the demo. 0: everything was as promised; 1: something was not, and the last lines say what."""
    from rotatord.demo.play import play  # noqa: PLC0415 - the two services import this package and start without the engine

    return play()
