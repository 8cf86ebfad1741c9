"""Trying a token from where it may be used: through a proxy at its consumers' way out, for tokens that are pinned to addresses.

The proxy carries a TLS connection to Cloudflare (CONNECT) and sees nothing of the token; an ``http://`` endpoint is for tests.
"""

from __future__ import annotations

from typing import Annotated

import urllib3
from pydantic import AfterValidator, BaseModel, ConfigDict

from rotatord.cloudflare_client import MOST_BYTES, CloudflareSettings, parsed
from rotatord.cloudflare_errors import Answer
from rotatord.errors import Invalid, Retryable
from rotatord.http import check_url, shown


class VantageSettings(BaseModel):
    """Where values are tried from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    proxy: Annotated[str, AfterValidator(check_url)]


class Vantage:
    """One way out. Thread-safe; keeps no connection."""

    def __init__(self, settings: CloudflareSettings, vantage: VantageSettings) -> None:
        self._endpoint = settings.endpoint.rstrip("/")
        self._seconds = settings.timeout / 2  # for what is asked of Cloudflare itself the other half is left
        self._proxy = vantage.proxy
        self._ca_file = settings.ca_file

    def send(self, path: str, value: str) -> Answer:
        """One GET with this token, seen from there. Raises Retryable when no answer came."""
        proxy = urllib3.ProxyManager(self._proxy, num_pools=1, ca_certs=self._ca_file, cert_reqs="CERT_REQUIRED")
        try:
            response = proxy.request(
                "GET",
                self._endpoint + path,
                headers={"Authorization": f"Bearer {value}", "Accept": "application/json", "User-Agent": "rotatord"},
                timeout=urllib3.Timeout(total=self._seconds),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            body = response.read(MOST_BYTES)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Retryable(f"no answer from Cloudflare through {shown(self._proxy)} ({type(error).__name__})") from None
        except ValueError:  # its text would quote the header
            raise Invalid("a token holds characters that HTTP does not allow") from None
        finally:
            proxy.clear()
        wait = response.headers.get("retry-after", "")
        return Answer(response.status, parsed(body), float(wait) if wait.isdecimal() else None)
