"""The chart's README is drawn from its values, and no value is left without a meaning."""

from __future__ import annotations

from docs import chart


def leaves(values: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of everything that can be set."""
    if not isinstance(values, dict) or not values:
        return [path]
    return [leaf for key, value in values.items() for leaf in leaves(value, (*path, key))]


def test_every_value_has_a_meaning() -> None:
    """Its own, or one of the mapping that it stands in."""
    from ruamel.yaml import YAML

    text = (chart.CHART / "values.yaml").read_text()
    known = {path for path, _ in chart.described(text)}
    unsaid = [
        leaf
        for leaf in leaves(YAML(typ="safe").load(text))
        if not any(leaf[:length] in known for length in range(1, len(leaf) + 1))
    ]
    assert unsaid == []


def test_the_readme_shows_the_values_as_they_are() -> None:
    """Each with its default; `make docs` draws it."""
    assert f"\n{chart.table()}\n" in (chart.CHART / "README.md").read_text()


def test_a_value_is_drawn_with_its_default_and_all_of_its_comment() -> None:
    """Comments of several lines are one sentence; others are for who reads the file."""
    text = "# not this\na:\n  # -- First | line\n  # and second.\n  b: {c: 1}\n  # nor this\n  d: 2\n# -- Empty.\ne: []\n"
    assert chart.table(text).splitlines()[2:] == ['| `a.b` | `{"c": 1}` | First \\| line and second. |', "| `e` |  | Empty. |"]
