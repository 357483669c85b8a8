"""Encryption keys' standing -> protobuf."""

from llm_service.domain.encryption import EncryptionKey, KeyStatus, ReplicaKeys, Rewrapped
from llm_service.rpc.convert.times import to_timestamp
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb


def from_key_status(status: KeyStatus) -> pb.GetKeyringStatusResponse:
    return pb.GetKeyringStatusResponse(
        keys=map(_from_key, status.keys), replicas=map(_from_replica, status.replicas)
    )


def from_rewrapped(done: Rewrapped, remaining: int) -> pb.RewrapSecretsResponse:
    return pb.RewrapSecretsResponse(
        rewrapped_count=done.rewrapped,
        skipped_count=done.skipped,
        unreadable_count=len(done.unreadable),
        remaining_count=remaining,
    )


def _from_key(key: EncryptionKey) -> pb.EncryptionKey:
    return pb.EncryptionKey(
        id=key.key_id,
        scheme=key.scheme,
        primary=key.primary,
        loaded=key.loaded,
        reference_count=key.references,
        retire_time=to_timestamp(key.retire_time) if key.retire_time else None,
        problem=key.problem,
    )


def _from_replica(replica: ReplicaKeys) -> pb.KeyringReplica:
    return pb.KeyringReplica(
        uid=replica.replica_uid,
        host=replica.host,
        primary_key_id=replica.primary_id,
        key_ids=replica.key_ids,
        problem=replica.problem,
        report_time=to_timestamp(replica.report_time),
    )
