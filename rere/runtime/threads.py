"""How many threads processes have that share a machine, or a container's part of one."""

from __future__ import annotations

import torch


def threads_each(processes: int) -> dict[str, str]:
    """The variable that gives each of `processes` processes an equal part of this process's threads.

    torch's count, not the machine's: a container has a part of the machine's cores, which its `OMP_NUM_THREADS` says.
    """
    return {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // processes))}
