"""What a call shows of its caller: a bearer credential, or the certificate of its connection."""

from typing import Any

from llm_service.domain.access import Principal
from llm_service.errors import CallerUnauthenticated
from llm_service.gateway.access.authenticator import REFUSAL, Authenticator
from llm_service.rpc.interceptors import Context, Metadata

HEADER = "authorization"


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
        header: str | None = None
        for key, value in metadata:
            if key == HEADER:
                if header is not None or not isinstance(value, str):
                    raise CallerUnauthenticated(REFUSAL)
                header = value
        if header is not None:
            # Without a coroutine first: nearly every call shows what was seen before.
            known = self._authenticator.remembered(header)
            return known or await self._authenticator.authorization(header)
        if self._authenticator.takes_certificates:
            # gRPC tells the id of a certificate with exactly one URI, of no other.
            shown: Any = context.auth_context()
            ids, certificates = shown.get("peer_spiffe_id", ()), shown.get("x509_pem_cert", ())
            if len(ids) == 1 and len(certificates) == 1:
                spiffe_id = ids[0].decode("ascii", "replace")
                return await self._authenticator.certificate(certificates[0], spiffe_id)
        raise CallerUnauthenticated(REFUSAL)
