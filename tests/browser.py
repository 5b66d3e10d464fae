"""The Chromium that is on this machine, if there is one; tests open it by `infra.pictures.browser`."""

from __future__ import annotations

import pytest

from infra.pictures import BROWSER

needs_chromium = pytest.mark.skipif(BROWSER is None, reason="no Chromium here (Debian: apt-get install chromium)")
