"""What callers write in their authorization header is they alone, however it is spelled."""

import pytest

from llm_service.domain.access import Principal
from llm_service.gateway.access.accepted import Accepted
from tests.unit.test_authenticator import DRAFT, Doors


class Certified:
    """What certificates say, and how often that was asked."""

    def __init__(self, accepted) -> None:
        self.accepted = accepted
        self.asked = 0

    async def __call__(self, pem, spiffe_id):
        self.asked += 1
        return self.accepted.get(pem)


@pytest.fixture
def doors() -> Doors:
    return Doors()


@pytest.mark.parametrize(
    "head", ["certificate\0", "Bearer certificate\0", "bearer ", "Bearer ", ""]
)
async def test_a_header_that_holds_a_callers_certificate_is_not_that_caller(head):
    doors = Doors()
    caller = Principal("spiffe://corp/agent")
    end = doors.clock() + 60
    pem = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    shown = head + pem.decode()
    certified = doors.authenticator._certified = Certified({pem: Accepted(caller, end)})

    assert await doors.refused_header(shown)
    assert await doors.authenticator.certificate(pem, caller.name) == caller
    assert await doors.refused_header(shown)

    assert await doors.authenticator.certificate(pem, caller.name) == caller
    assert certified.asked == 1


async def test_a_certificate_may_be_longer_than_a_credential():
    doors = Doors()
    pem, caller = b"x" * 20_000, Principal("spiffe://corp/agent")
    doors.authenticator._certified = Certified({pem: Accepted(caller, doors.clock() + 60)})

    assert await doors.authenticator.certificate(pem, caller.name) == caller


async def test_however_a_caller_writes_its_header_it_is_remembered_once(doors):
    _, text = await doors.keys.create("acme", DRAFT)
    spelled = [
        f"{scheme} {gap}{text}" for scheme in ("Bearer", "bearer", "BEARER") for gap in ("", " ")
    ]

    for header in [*spelled, *spelled]:
        assert (await doors.authenticator.authorization(header)).tenant == "acme"

    assert len(doors.authenticator._accepted) == 1
    assert doors.authenticator.remembered(f"Bearer {text}").tenant == "acme"
    assert doors.authenticator.remembered(text) is None


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Basic eA==", "Bearerllm_x", "Bearer " + "x" * 8193]
)
async def test_a_header_of_another_scheme_or_too_long_is_refused(doors, header):
    assert await doors.refused_header(header)
    assert not doors.authenticator._refused
