"""Before any test is imported: what some libraries make while they are imported, they make elsewhere than at home."""

import os

from tests.home import isolate

isolate()
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach a hub
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
