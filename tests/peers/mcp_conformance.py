"""The conformance suite of the Model Context Protocol against `/mcp`.

The suite's other scenarios call tools, prompts and resources of a reference server by name
(`test_simple_text` and its like); crates/vm-obs/src/mcp/tests/conformance.rs runs all of them over
the same routes with those.
"""

import os
import shutil
import subprocess
from pathlib import Path

from harness import Skipped

SUITE = Path(__file__).parent / "mcp/node_modules/@modelcontextprotocol/conformance/dist/index.js"
SCENARIOS = (
    "server-initialize",
    "logging-set-level",
    "ping",
    "tools-list",
    "resources-list",
    "prompts-list",
    "server-sse-multiple-streams",
    "server-sse-polling",
    "dns-rebinding-protection",
)


def conforms(server, scenario):
    node = shutil.which("node")
    if not node or not SUITE.exists():
        raise Skipped("no node, or tests/peers/mcp is not installed (npm ci)")
    done = subprocess.run(
        [node, str(SUITE), "server", "--url", f"{server.http}/mcp", "--scenario", scenario],
        capture_output=True, text=True, timeout=60, cwd=server.folder, env={**os.environ, "NO_COLOR": "1"},
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "0 failed" in said, said
