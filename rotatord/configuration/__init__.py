"""The parts of :mod:`rotatord.config`: reading YAML with places, the schema, the checks, and the manual page."""
