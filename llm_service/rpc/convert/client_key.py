"""Client keys: protobuf <-> domain. A key's text is put into one answer only, by its servicer."""

from llm_service.domain.access import ClientKey, ClientKeyState, Role
from llm_service.domain.provider import RateLimits
from llm_service.errors import InvalidField, Violation
from llm_service.gateway.access.client_keys import ClientKeyDraft
from llm_service.rpc.convert.provider import from_rate_limits, to_etag, to_moment, to_rate_limits
from llm_service.rpc.convert.times import to_timestamp
from llm_service.rpc.stubs import access_service_pb2 as pb

ROLES: dict[pb.AccessRole.ValueType, Role] = {
    pb.AccessRole.Value(f"ACCESS_ROLE_{role.name}"): role for role in Role
}
_NUMBERS = {role: number for number, role in ROLES.items()}


def to_draft(message: pb.ClientKey) -> ClientKeyDraft:
    """What a caller chose.

    Raises:
        InvalidField: names each role that is unknown or there twice.
    """
    wrong = [
        Violation(f"client_key.roles[{index}]", "is not a known role, or there twice")
        for index, number in enumerate(message.roles)
        if number not in ROLES or number in message.roles[:index]
    ]
    if wrong:
        raise InvalidField(*wrong)
    return ClientKeyDraft(
        display_name=message.display_name,
        roles=frozenset(ROLES[number] for number in message.roles),
        disabled=message.disabled,
        expire_time=to_moment(message, "expire_time", "client_key."),
        rate_limits=to_rate_limits(message.rate_limits),
    )


def from_draft(draft: ClientKeyDraft) -> pb.ClientKey:
    message = pb.ClientKey(display_name=draft.display_name, disabled=draft.disabled)
    message.roles.extend(sorted(_NUMBERS[role] for role in draft.roles))
    if draft.expire_time is not None:
        message.expire_time.CopyFrom(to_timestamp(draft.expire_time))
    if draft.rate_limits != RateLimits():
        message.rate_limits.CopyFrom(from_rate_limits(draft.rate_limits))
    return message


def from_client_key(key: ClientKey, state: ClientKeyState) -> pb.ClientKey:
    message = from_draft(ClientKeyDraft.of(key))
    message.name = key.name
    message.state = pb.ClientKey.State.Value(f"STATE_{state.name}")
    message.create_time.CopyFrom(to_timestamp(key.create_time))
    message.update_time.CopyFrom(to_timestamp(key.update_time))
    if key.revoke_time is not None:
        message.revoke_time.CopyFrom(to_timestamp(key.revoke_time))
    message.etag = to_etag(key.version)
    return message
