"""`ray start` for a machine that is busy: `python tests/ray_cluster/start.py start --head ...`.

A raylet aborts when its agents, which are Python programs, take more than a quarter of a minute to tell the ports that
they found. It waits for none that it is given, and `ray start` gives it all but one: this gives it that one, too. The
API server and the Ray client's server, which no test asks, are not started.
"""

from __future__ import annotations

import sys
from typing import Any

from ray._private import ray_constants, services
from ray._private.node import Node
from ray.scripts.scripts import cli

LISTEN = "--dashboard-agent-listen-port="


def main(arguments: list[str]) -> None:
    port = next(argument for argument in arguments if argument.startswith(LISTEN)).removeprefix(LISTEN)
    start = services.start_ray_process

    def start_with_port(command: list[str], process_type: str, *rest: Any, **options: Any) -> Any:
        if process_type == ray_constants.PROCESS_TYPE_RAYLET:
            command = [*command, f"--dashboard_agent_listen_port={port}"]
        return start(command, process_type, *rest, **options)

    services.start_ray_process = start_with_port
    Node.start_api_server = Node.start_ray_client_server = lambda *_, **__: None
    cli(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
