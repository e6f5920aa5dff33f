"""HTTP to our own listeners: never through a proxy that the shell's environment names."""

from __future__ import annotations

import urllib.request

TIMEOUT_SECONDS = 2.0
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(address: str, path: str, body: bytes | None = None) -> bytes:
    """GET, or POST when there is a body, within two seconds. Returns at most 100 kB of the answer.

    Raises:
        urllib.error.HTTPError: another status than 2xx.
        OSError: no answer.
    """
    with _opener.open(f"http://{address}{path}", data=body, timeout=TIMEOUT_SECONDS) as response:
        answer: bytes = response.read(100_000)
        return answer
