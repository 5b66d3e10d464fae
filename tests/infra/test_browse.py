"""A page is opened once its server answers, and not for a server that nobody waits for."""

from __future__ import annotations

import socket

from infra.browse import open_once_up


def test_it_opens_once_the_server_answers() -> None:
    shown: list[str] = []
    tries: list[int] = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.getsockname()[1]}/page"

        def wanted() -> bool:
            tries.append(len(shown))
            if len(tries) == 2:
                server.listen()
            return True

        assert open_once_up(url, wanted, shown.append)
    assert shown == [url]
    assert tries == [0, 0]  # the first found nobody


def test_it_gives_up_when_nobody_waits() -> None:
    shown: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert not open_once_up(url, wanted=iter([True, False]).__next__, show=shown.append)
    assert shown == []
