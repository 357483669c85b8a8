"""`llm_providers`, their models, and a model for each interaction, for everybody and by user."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from llm_service.domain.completion import GenerationParams
from llm_service.domain.model_config import Selector, TargetSpec
from llm_service.domain.provider import EmbeddingInfo, Model, SecretReference, SourceType
from llm_service.gateway.admin.drafts import ModelConfigDraft, ProviderDraft, Source
from llm_service.gateway.admin.imports import fields
from llm_service.gateway.admin.imports.fields import Row, Taken, Unusable
from llm_service.gateway.admin.imports.steps import (
    Circumstances,
    Entry,
    Outcome,
    Step,
    WantConfig,
    WantModel,
    WantProvider,
    left_out,
)
from llm_service.gateway.admin.models import manual_model

COLUMNS = {
    "llm_providers": ("id", "name", "provider_type", "api_base_url", "api_key_secret_path"),
    "llm_provider_models": ("id", "provider_id", "model_name"),
    "llm_global_config": ("interaction_type", "provider_id", "model_name"),
    "llm_user_config": ("id", "user_id", "interaction_type", "provider_id", "model_name"),
}
GLOBAL = "llm_global_config"
USERS = "llm_user_config"

Tables = Mapping[str, Sequence[Row]]
Accounts = Mapping[str, WantProvider]


def steps(tables: Tables, where: Circumstances) -> Iterator[Step]:
    """Providers by the ids of their names, then models, then configurations."""
    accounts: dict[str, WantProvider] = {}
    taken = Taken()
    for one in tables["llm_providers"]:
        row = f"llm_providers[{one['id']}]"
        try:
            account = _account(one, row, where)
            taken.take(account.name, row)
        except Unusable as error:
            yield Entry(row, Outcome.FAILED, why=str(error))
            continue
        accounts[str(one["id"])] = account
        yield account
        if (path := fields.text(one, "api_key_secret_path")) and account.source is None:
            why = (
                f"its key is in a store of secrets, at {path[:200]}: say which with --secret-store"
            )
            yield Entry(row, Outcome.FAILED, "api_key_secret_path", why)
    models: dict[str, Model] = {}
    for one in tables["llm_provider_models"]:
        for step in _model(one, accounts, taken):
            if isinstance(step, WantModel):
                models[step.name] = step.model
            yield step
    configs = [(f"llm_global_config[{one['interaction_type']}]", one) for one in tables[GLOBAL]]
    configs += [(f"{USERS}[{one['id']}]", one) for one in tables[USERS]]
    for row, one in configs:
        yield from _config(one, row, accounts, models, where)


def _account(one: Row, row: str, where: Circumstances) -> WantProvider:
    kind = fields.kind_of(one, "provider_type")
    draft = ProviderDraft(
        kind=kind,
        display_name=fields.text(one, "name"),
        base_uri=fields.text(one, "api_base_url"),
        disabled=not fields.flag(one, "enabled", default=True),
    )
    path = fields.text(one, "api_key_secret_path")
    source = _pointer(path, where.secret_store) if path and where.secret_store else None
    provider_id = fields.resource_id(fields.text(one, "name"))
    return WantProvider(row, where.tenant, provider_id, draft, source)


def _pointer(path: str, store: str) -> Source:
    return Source(SourceType.SECRET_REFERENCE, reference=SecretReference(store, path).text)


def _model(one: Row, accounts: Accounts, taken: Taken) -> Iterator[Step]:
    row = f"llm_provider_models[{one['id']}]"
    notes: dict[str, str] = {}
    try:
        account = _account_of(one, accounts)
        bare = manual_model(account.name, account.draft.kind, fields.text(one, "model_name"))
        taken.take(bare.name, row)
    except Unusable as error:
        yield Entry(row, Outcome.FAILED, why=str(error))
        return
    try:
        window = fields.number(one.get("context_window"))
    except Unusable as error:
        window, notes["context_window"] = None, str(error)
    embeds = fields.flag(one, "supports_embeddings", default=False)
    tools = fields.flag(one, "supports_tools", default=bare.capabilities.tools is True)
    known = one.get("supports_tools") is not None
    model = replace(
        bare,
        capabilities=replace(bare.capabilities, tools=tools) if known else bare.capabilities,
        embedding=(bare.embedding or EmbeddingInfo()) if embeds else bare.embedding,
        context_window_tokens=int(window) if window else bare.context_window_tokens,
        price=fields.price(one, notes) or bare.price,
    )
    yield WantModel(row, account.tenant, account.provider_id, model)
    yield from left_out(row, notes)


def _config(
    one: Row, row: str, accounts: Accounts, models: dict[str, Model], where: Circumstances
) -> Iterator[Step]:
    """What calls of one interaction use; of one user's, where the row names one."""
    notes: dict[str, str] = {}
    interaction, user = fields.text(one, "interaction_type"), fields.text(one, "user_id")
    try:
        account = _account_of(one, accounts)
        for name, value in (("interaction_type", interaction), ("user_id", user)):
            if not fields.CALLERS_ID.fullmatch(value or "-"):
                raise Unusable(f"{name} is nothing a call could name it by")
        model = manual_model(account.name, account.draft.kind, fields.text(one, "model_name"))
        if models.setdefault(model.name, model).provider_model != model.provider_model:
            raise Unusable(f"{model.name} is another model already")
    except Unusable as error:
        yield Entry(row, Outcome.FAILED, why=str(error))
        return
    if models[model.name] is model:
        yield WantModel(row, account.tenant, account.provider_id, model)
    params: GenerationParams = fields.params(one, notes)
    draft = ModelConfigDraft(
        display_name=f"{interaction} of {user}" if user else f"Default for {interaction}",
        selector=Selector(user=user, interaction=interaction),
        targets=(TargetSpec(model.name),),
        params=params,
    )
    id_ = (
        fields.distinct_id(f"user-{interaction}", user) if user else fields.resource_id(interaction)
    )
    yield WantConfig(row, where.tenant, id_, draft)
    yield from left_out(row, notes)


def _account_of(one: Row, accounts: Accounts) -> WantProvider:
    account = accounts.get(str(one["provider_id"]))
    if account is None:
        raise Unusable("its provider was not imported")
    return account
