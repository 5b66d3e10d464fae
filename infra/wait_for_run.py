"""Wait for a pipeline run and exit by its status: `python -m infra.wait_for_run RUN`.

On Kubernetes the orchestrator's pod exits with 0 whatever became of the steps, so CI must ask the run itself.
RUN is a run's name or id, or `latest`. Exit status: 0 completed, 1 failed or stopped, 2 not finished in time.
"""

from __future__ import annotations

import argparse
import sys

from ops.runtime.runs import wait


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="name or id of the run, or `latest`")
    parser.add_argument("--timeout", type=float, default=6 * 3600, help="seconds (default: six hours)")
    parser.add_argument("--interval", type=float, default=5, help="seconds between looks (default: 5)")
    arguments = parser.parse_args()
    sys.exit(wait(arguments.run, arguments.timeout, arguments.interval))


if __name__ == "__main__":
    main()
