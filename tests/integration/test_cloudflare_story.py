"""The story of one Cloudflare token, typed as it stands on its page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.integration.test_walk import BEFORE, free_ports, run
from tests.servers.fixtures import need
from tests.servers.system_program import CURL

ROOT = Path(__file__).resolve().parents[2]
PORT = "8199"


def typed() -> str:
    """Everything in the story's blocks, in order, as a script that ends at the first command that fails."""
    page = (ROOT / "docs" / "cloudflare-story.md").read_text()
    story = page.partition("<!-- walk -->")[2].partition("<!-- end of walk -->")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```$", story, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    return BEFORE + "".join(f"echo '--- block {number}'\n{block}" for number, block in enumerate(blocks, 1))


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_story_goes_as_it_is_told(tmp_path: Path) -> None:
    """From a person's token for all zones to the account's for one zone, two addresses and seven days, without a refusal."""
    need(CURL)
    (port,) = free_ports(1)
    script = typed().replace("$PWD/.venv/bin:", f"{Path(sys.executable).parent}:").replace(PORT, port)
    code, output = run(script, tmp_path)
    assert code == 0, output
    assert "the program was never refused" in output
    assert "Invalid API Token" in output
    assert '"4755a26eedb94da69e1066d98aa820be"' in output
    assert "no strays" in output
    assert re.search(r"prove_dead done .*ref=user/", output)
    assert re.search(r"mint done .*ref=account/", output)
    after = output.partition("--- block 6")[2]
    assert '"203.0.113.7/32"' in after
    assert re.search(r'"com\.cloudflare\.api\.account\.zone\.[0-9a-f]{32}": "\*"', after)
    assert re.search(r"^dns +in (4d|5d)", after, re.MULTILINE), after
