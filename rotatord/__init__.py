"""rotatord: mint, stage, prove, publish, reload, verify, overlap, revoke, prove dead - and undo."""

__version__ = "0.1.0"
