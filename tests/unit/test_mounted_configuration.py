"""A configuration that is mounted as Kubernetes mounts ConfigMaps: behind two links, one of which is exchanged at a change."""

from __future__ import annotations

import os
from pathlib import Path

from rotatord import config

FIRST, SECOND = "limits: {threads: 4}\n", "limits: {threads: 8}\n"


def mount(volume: Path, name: str, text: str) -> Path:
    """What the kubelet does: a fresh directory, and a link to it that is put in the place of the old one at once."""
    fresh = volume / name
    fresh.mkdir(parents=True)
    (fresh / "rotatord.yaml").write_text(text)
    os.utime(fresh / "rotatord.yaml", (0, 0))  # what tells two apart is not the time, which may be the same
    (volume / "..fresh").symlink_to(name)
    (volume / "..fresh").rename(volume / "..data")
    file = volume / "rotatord.yaml"
    if not file.is_symlink():
        file.symlink_to("..data/rotatord.yaml")
    return file


def test_a_change_is_seen_behind_links(tmp_path: Path) -> None:
    """Without a restart: same path, same size, same time, other content."""
    file = mount(tmp_path, "..one", FIRST)
    before, read = config.stamp(file), config.load(file)
    assert config.stamp(file) == before
    assert mount(tmp_path, "..two", SECOND) == file
    assert config.stamp(file) != before
    assert (read.limits.threads, config.load(file).limits.threads) == (4, 8)


def test_relative_paths_count_from_where_it_is_mounted(tmp_path: Path) -> None:
    """Not from the directory behind the links, which is another after each change."""
    assert config.load(mount(tmp_path, "..one", FIRST)).base_dir == str(tmp_path)


def test_the_whole_directory_can_be_mounted(tmp_path: Path) -> None:
    """The links of the kubelet are hidden, so each file is read once."""
    mount(tmp_path, "..one", FIRST)
    assert config.load(tmp_path).files == (str(tmp_path / "rotatord.yaml"),)
