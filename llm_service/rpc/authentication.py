"""What a call shows of its caller: a bearer credential, or the certificate of its connection."""

from typing import Any

from llm_service.domain.access import Principal
from llm_service.errors import CallerUnauthenticated
from llm_service.gateway.access.authenticator import REFUSAL, Authenticator
from llm_service.rpc.interceptors import Context, Metadata

HEADER = "authorization"

_SCHEME = "bearer "


class Authentication:
    """Finds the credential of a call, and asks whose it is."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def __call__(self, method: str, context: Context, metadata: Metadata) -> Principal:
        """Whoever makes the call. A bearer credential decides; without one the certificate does.

        Raises:
            CallerUnauthenticated: nobody this service knows.
            Overloaded, StorageUnavailable: this cannot be told now.
        """
        credential = _bearer(metadata)
        if credential is not None:
            return await self._authenticator.bearer(credential)
        if self._authenticator.takes_certificates:
            # gRPC tells the id of a certificate with exactly one URI, of no other.
            shown: Any = context.auth_context()
            ids, certificates = shown.get("peer_spiffe_id", ()), shown.get("x509_pem_cert", ())
            if len(ids) == 1 and len(certificates) == 1:
                spiffe_id = ids[0].decode("ascii", "replace")
                return await self._authenticator.certificate(certificates[0], spiffe_id)
        raise CallerUnauthenticated(REFUSAL)


def _bearer(metadata: Metadata) -> str | None:
    """The credential of the one authorization header; None: there is none.

    Raises:
        CallerUnauthenticated: there are several, or it is no bearer credential.
    """
    shown: str | bytes | None = None
    for key, value in metadata:
        if key == HEADER:
            if shown is not None:
                raise CallerUnauthenticated(REFUSAL)
            shown = value
    if shown is None:
        return None
    if not isinstance(shown, str) or shown[: len(_SCHEME)].lower() != _SCHEME:
        raise CallerUnauthenticated(REFUSAL)
    return shown[len(_SCHEME) :].strip()
