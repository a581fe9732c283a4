"""Whether a host can be reached at all: found out within seconds, and said meanwhile.

huggingface_hub tries a host that does not answer seven times for each file, 24 to 93 s, and says nothing.
"""

import socket
import sys
import time
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from operators.base.errors import clean_message

PAUSES_S = (1.0, 2.0)
"""Seconds between tries."""
CONNECT_S = 5.0
"""Of one try, for each address that the name has."""
_PORTS = {"https": 443, "http": 80}
_SOCKS_PORT = 1080


class HostSilent(Exception):
    """No connection to a host; says which, why, and how often it was tried."""


def check_reached(url: str) -> None:
    """Connect to the host of a URL, or to the proxy that the environment sets for it, and close again.

    Each failed try but the last is said on stderr. Raises `HostSilent`.
    """
    host, port, what = _asked(url)
    started = time.monotonic()
    for pause in (*PAUSES_S, None):
        try:
            socket.create_connection((host, port), CONNECT_S).close()
            return
        except OSError as error:
            why = clean_message(str(error))
        if pause is None:
            break
        print(f"pixlake: no connection to {what} ({why}); trying again in {pause:.0f} s", file=sys.stderr, flush=True)
        time.sleep(pause)
    seconds = time.monotonic() - started
    raise HostSilent(f"no connection to {what}, tried {len(PAUSES_S) + 1} times in {seconds:.0f} s: {why}")


def _asked(url: str) -> tuple[str, int, str]:
    """(host, port, its name for a person): of the proxy, if there is one."""
    asked = urlsplit(url)
    host = asked.hostname or ""
    proxies = {} if proxy_bypass(host) else getproxies()
    proxy = proxies.get(asked.scheme) or proxies.get("all")
    if not proxy:
        return host, asked.port or _PORTS.get(asked.scheme, _PORTS["https"]), host
    through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    at = through.hostname or ""
    return at, through.port or _PORTS.get(through.scheme, _SOCKS_PORT), f"the proxy {at}"
