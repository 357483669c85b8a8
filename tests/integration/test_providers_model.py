"""Whatever is done to providers in whatever order, they are as a model in memory says."""

from dataclasses import dataclass, field

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_service.domain.listing import Listing
from llm_service.errors import AlreadyExists, EtagMismatch, GatewayError, ResourceNotFound
from llm_service.gateway.admin.drafts import ProviderDraft
from llm_service.gateway.admin.providers import Providers
from llm_service.gateway.admin.secrets import Secrets
from llm_service.providers.egress import Egress
from llm_service.rpc import provider_admin_requests as requests
from llm_service.rpc.convert.provider import from_provider, to_etag
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import Provider
from llm_service.vault import Vault
from tests.integration.samples import NUMBERS

IDS = st.sampled_from(["a", "b", "c"])
FIELDS = ("display_name", "description", "priority", "disabled", "labels")
MASKS = st.just([]) | st.just(["*"]) | st.lists(st.sampled_from(FIELDS), min_size=1, unique=True)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "display_name": st.sampled_from(["x", "y"]),
        "description": st.just("words"),
        "priority": st.integers(0, 2),
        "disabled": st.just(value=True),
        "labels": st.dictionaries(st.sampled_from(["k", "l"]), st.just("v"), min_size=1),
    },
)
ETAGS = st.sampled_from(["none", "right", "stale"])
CHANGES = st.lists(st.tuples(IDS, ETAGS, MASKS, VALUES), min_size=1, max_size=3)
STEPS = st.one_of(
    st.tuples(st.just("create"), IDS),
    st.tuples(st.just("create"), IDS),
    st.tuples(st.just("update"), CHANGES),
    st.tuples(st.just("delete"), st.lists(st.tuples(IDS, ETAGS), min_size=1, max_size=2)),
    st.tuples(st.just("undelete"), IDS),
)


@dataclass
class Known:
    """A provider in the model."""

    version: int = 1
    deleted: bool = False
    fields: dict[str, object] = field(default_factory=dict)


class Model:
    """What the service promises of providers, in dictionaries."""

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}

    def create(self, one):
        if one in self.known:
            raise AlreadyExists("")
        self.known[one] = Known()

    def update(self, changes):
        for one, etag, _, _ in sorted(changes, key=lambda change: change[0]):
            self._expect(one, etag)
        for one, _, mask, values in changes:
            known = self.known[one]
            known.version += 1
            for name in FIELDS if mask == ["*"] else mask or values:
                known.fields.pop(name, None)
                if name in values:
                    known.fields[name] = values[name]

    def delete(self, deletions):
        for one, etag in sorted(deletions):
            self._expect(one, etag)
        for one, _ in deletions:
            self.known[one].version += 1
            self.known[one].deleted = True

    def undelete(self, one):
        if one not in self.known:
            raise ResourceNotFound("")
        if not self.known[one].deleted:
            raise AlreadyExists("")
        self.known[one].deleted = False
        self.known[one].version += 1

    def etag(self, one, etag) -> str:
        version = self.known[one].version if one in self.known else 1
        return {"none": "", "right": to_etag(version), "stale": to_etag(version + 7)}[etag]

    def _expect(self, one, etag):
        if one not in self.known or self.known[one].deleted:
            raise ResourceNotFound("")
        if etag == "stale":
            raise EtagMismatch("")

    def seen(self):
        return {
            one: (to_etag(k.version), k.deleted, k.fields) for one, k in sorted(self.known.items())
        }


class Real:
    """The same of the service: requests as they come, and the use cases."""

    def __init__(self, providers: Providers, tenant: str, model: Model) -> None:
        self.providers = providers
        self.tenant = tenant
        self.model = model

    async def create(self, one):
        await self.providers.create(self.tenant, one, ProviderDraft(kind="echo"))

    async def update(self, changes):
        batch = pb.BatchUpdateProvidersRequest(
            requests=[
                pb.UpdateProviderRequest(
                    provider=Provider(
                        name=self.name(one), etag=self.model.etag(one, etag), **values
                    ),
                    update_mask=FieldMask(paths=mask),
                )
                for one, etag, mask, values in changes
            ]
        )
        await self.providers.update(requests.provider_updates(batch).items)

    async def delete(self, deletions):
        batch = pb.BatchDeleteProvidersRequest(
            requests=[
                pb.DeleteProviderRequest(name=self.name(one), etag=self.model.etag(one, etag))
                for one, etag in deletions
            ]
        )
        await self.providers.delete(requests.provider_deletions(batch).items)

    async def undelete(self, one):
        await self.providers.undelete(self.tenant, one)

    def name(self, one):
        return f"tenants/{self.tenant}/providers/{one}"

    async def seen(self):
        page = await self.providers.list(self.tenant, Listing(10), show_deleted=True)
        messages = {view.provider.provider_id: from_provider(view) for view in page.items}
        return {one: shown(message) for one, message in messages.items()}


def shown(message):
    fields = {
        name: dict(message.labels) if name == "labels" else getattr(message, name)
        for name in FIELDS
        if (message.HasField(name) if name == "priority" else getattr(message, name))
    }
    return message.etag, message.HasField("delete_time"), fields


@pytest.fixture
async def egress():
    egress = Egress()
    yield egress
    await egress.aclose()


@given(steps=st.lists(STEPS, min_size=1, max_size=12))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_providers_are_as_the_model_says(database, egress, steps):
    steps = [(name, unique(what)) for name, what in steps]
    model = Model()
    tenant = f"tenant-{next(NUMBERS)}"
    real = Real(Providers(database, Secrets(Vault(None, "d")), egress), tenant, model)

    for name, what in steps:
        happened = await failing(getattr(real, name), what)
        expected = None
        try:
            getattr(model, name)(what)
        except GatewayError as error:
            expected = type(error)

        assert happened is expected, (name, what)
        assert await real.seen() == model.seen()


async def failing(do, what):
    try:
        await do(what)
    except GatewayError as error:
        return type(error)
    return None


def unique(what):
    """No provider twice in one batch."""
    if isinstance(what, str):
        return what
    return list({one[0]: one for one in what}.values())
