"""Webhooks as operators handle them: made, changed, destroyed, and what was delivered to them."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from llm_service.domain.alert import AlertKind
from llm_service.domain.listing import Listing, Page
from llm_service.domain.webhook import Webhook, WebhookDelivery
from llm_service.errors import EgressDenied, EtagMismatch, ResourceNotFound, Violation
from llm_service.gateway.admin import rules
from llm_service.gateway.admin.once import NOT_REPEATED, Once
from llm_service.gateway.alerts import signing
from llm_service.gateway.ids import new_id
from llm_service.providers.egress import Egress
from llm_service.storage.database import Database, Transaction
from llm_service.vault import Binding, Vault

MAX_WEBHOOKS = 100
"""Of one tenant: whatever raises an alert stores a delivery for each, before it goes on."""


@dataclass(frozen=True, slots=True)
class WebhookDraft:
    """The writable fields of `Webhook`, its secret apart."""

    target_uri: str = ""
    display_name: str = ""
    alert_kinds: tuple[AlertKind, ...] = ()
    disabled: bool = False

    @staticmethod
    def of(webhook: Webhook) -> "WebhookDraft":
        return WebhookDraft(
            webhook.target_uri, webhook.display_name, webhook.alert_kinds, webhook.disabled
        )


ChangeWebhook = Callable[[WebhookDraft], WebhookDraft]


class Webhooks:
    """The operator's side. Every method names the tenant; "" is of no one tenant."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        egress: Egress,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._vault = vault
        self._egress = egress
        self._now = now

    async def create(
        self,
        tenant: str,
        webhook_id: str,
        draft: WebhookDraft,
        secret: str = "",
        *,
        once: Once[tuple[Webhook, str]] = NOT_REPEATED,
    ) -> tuple[Webhook, str]:
        """A new webhook, and its secret, which nobody can tell again.

        Raises:
            AlreadyExists: the id is taken.
            EgressDenied: its target may not be dialled.
            EncryptionKeyMissing: there is no key to seal the secret with.
            InvalidField: names all that is wrong with it.
            RateLimited: the tenant has `MAX_WEBHOOKS` already.
        """
        self._check(draft, secret)
        secret = secret or signing.new_secret()
        now = self._now()
        webhook = Webhook(
            tenant,
            webhook_id,
            new_id(),
            draft.target_uri,
            now,
            now,
            display_name=draft.display_name,
            alert_kinds=draft.alert_kinds,
            disabled=draft.disabled,
        )
        webhook = replace(webhook, sealed=self._vault.seal(secret, binding(webhook)))
        async with self._database.begin() as tx:
            await once.begin(tx, now)
            await tx.webhooks.add(webhook)
            if await tx.webhooks.count_alone(tenant) > MAX_WEBHOOKS:
                raise rules.too_many(tenant, "webhooks", MAX_WEBHOOKS)
            await once.end(tx, (webhook, secret))
        return webhook, secret

    async def get(self, tenant: str, webhook_id: str) -> Webhook:
        async with self._database.read() as tx:
            return await tx.webhooks.get(tenant, webhook_id)

    async def list(self, tenant: str | None, listing: Listing) -> Page[Webhook]:
        """One page of a tenant's webhooks; None: everybody's."""
        async with self._database.read() as tx:
            return await tx.webhooks.list(tenant, listing)

    async def update(
        self,
        tenant: str,
        webhook_id: str,
        change: ChangeWebhook,
        *,
        expected_version: int | None = None,
    ) -> Webhook:
        """Change a webhook.

        Raises:
            EgressDenied, InvalidField: as `create`.
            EtagMismatch, ResourceNotFound: it has changed, or is not there.
        """
        async with self._database.begin() as tx:
            stored = await _stored(tx, tenant, webhook_id, expected_version)
            draft = change(WebhookDraft.of(stored))
            self._check(draft)
            changed = replace(
                stored,
                target_uri=draft.target_uri,
                display_name=draft.display_name,
                alert_kinds=draft.alert_kinds,
                disabled=draft.disabled,
                update_time=self._now(),
            )
            return await tx.webhooks.update(changed, stored.version)

    async def rotate(
        self,
        tenant: str,
        webhook_id: str,
        secret: str = "",
        *,
        expected_version: int | None = None,
    ) -> tuple[Webhook, str]:
        """Sign with another secret from now on; gives it too.

        Raises:
            EncryptionKeyMissing, InvalidField: as `create`.
            EtagMismatch, ResourceNotFound: it has changed, or is not there.
        """
        rules.done(_wrong_secret(secret))
        secret = secret or signing.new_secret()
        async with self._database.begin() as tx:
            stored = await _stored(tx, tenant, webhook_id, expected_version)
            changed = replace(
                stored, secret_version=stored.secret_version + 1, update_time=self._now()
            )
            changed = replace(changed, sealed=self._vault.seal(secret, binding(changed)))
            return await tx.webhooks.update(changed, stored.version), secret

    async def delete(
        self,
        tenant: str,
        webhook_id: str,
        *,
        expected_version: int | None = None,
        allow_missing: bool = False,
    ) -> None:
        """Destroy a webhook, and what was still to be delivered to it.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: there is none, and it is not allowed to be missing.
        """
        async with self._database.begin() as tx:
            try:
                await tx.webhooks.delete(tenant, webhook_id, expected_version)
            except ResourceNotFound:
                if not allow_missing:
                    raise

    async def deliveries(
        self, tenant: str, webhook_id: str, listing: Listing
    ) -> Page[WebhookDelivery]:
        """One page of a webhook's deliveries, oldest first."""
        async with self._database.read() as tx:
            webhook = await tx.webhooks.get(tenant, webhook_id)
            return await tx.deliveries.list(webhook.uid, listing)

    async def redeliver(
        self, tenant: str, webhook_id: str, delivery_ids: Collection[str] = ()
    ) -> int:
        """Have deliveries made once more: these, or all that were given up. How many.

        Raises:
            ResourceNotFound: there is no such webhook, or one of the deliveries is not there.
        """
        async with self._database.begin() as tx:
            webhook = await tx.webhooks.get(tenant, webhook_id)
            count = await tx.deliveries.again(webhook.uid, delivery_ids, self._now())
            if count < len(set(delivery_ids)):
                raise ResourceNotFound("no such delivery")
        return count

    def _check(self, draft: WebhookDraft, secret: str = "") -> None:
        found = [*rules.text("webhook.display_name", draft.display_name, rules.MAX_TEXT)]
        found += _wrong_secret(secret)
        denied: EgressDenied | None = None
        try:
            self._egress.endpoint(draft.target_uri)
        except EgressDenied as error:
            denied = error
        except ValueError as error:
            found.append(Violation("webhook.target_uri", str(error)))
        rules.done(found)
        if denied is not None:
            raise denied


def binding(webhook: Webhook) -> Binding:
    """What a webhook's secret is sealed to."""
    return Binding(
        table="webhooks",
        column="sealed",
        tenant=webhook.tenant,
        provider_uid="",
        row_uid=webhook.uid,
        secret_version=webhook.secret_version,
    )


def _wrong_secret(secret: str) -> Iterator[Violation]:
    if secret and not signing.is_secret(secret):
        form = f'"{signing.PREFIX}" and {signing.MIN_BYTES} to {signing.MAX_BYTES} bytes in base64'
        yield Violation("secret", f"must be {form}")


async def _stored(
    tx: Transaction, tenant: str, webhook_id: str, expected_version: int | None
) -> Webhook:
    stored = await tx.webhooks.get(tenant, webhook_id, for_update=True)
    if expected_version not in (None, stored.version):
        raise EtagMismatch("the webhook has changed since it was read")
    return stored
