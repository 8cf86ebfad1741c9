"""``python -m rotatord.cli``: the command line where its script is not on PATH."""

from rotatord.cli.main import main

main()
