"""The environment, read once into a frozen value."""
# ruff: noqa: RUF009 - _setting and _derived return a dataclass field

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

from llm_service.settings import legacy, values
from llm_service.settings.values import (
    Address,
    Auth,
    DatabaseUrl,
    LedgerPlace,
    LogFormat,
    LogLevel,
    RedisUrl,
)

__all__ = [
    "Address",
    "Auth",
    "DatabaseUrl",
    "LedgerPlace",
    "LogFormat",
    "LogLevel",
    "RedisUrl",
    "Settings",
    "SettingsError",
]

DATA_DIR = Path(".data")
MAX_CONCURRENT_CALLS = 1000
KUBERNETES_TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
KEY_VARIABLES = ("LLM_ENCRYPTION_KEY", "ENCRYPTION_KEY")
EMBEDDED_CREDENTIALS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "DEEPSEEK_API_KEY",
    "GROK_API_KEY",
)

_PREFIX = "LLM_"
_LIMIT = values.integer(1, 10**12 - 1)
_NEAR_MISS = 0.7  # likeness, prefix left out, from which an unknown name counts as a typo

T = TypeVar("T")


class SettingsError(ValueError):
    """Everything wrong with the environment, one line for each variable; no value is shown."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{name}: {problem}" for name, problem in problems.items()))
        self.problems = dict(problems)


def _setting(variable: str, read: Callable[[str], T], default: T) -> T:
    metadata = {"variable": variable, "read": read}
    return field(default=default, metadata=metadata)


def _derived(variable: str, read: Callable[[str], T]) -> T:
    """A setting whose default depends on others: see `_complete`."""
    metadata = {"variable": variable, "read": read}
    made: T = field(metadata=metadata)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this process runs. The repr holds no secret. Text that is not set is ""."""

    # Storage. By default an SQLite file in the data folder.
    data_dir: Path = _setting("LLM_DATA_DIR", values.folder, DATA_DIR)
    database_url: DatabaseUrl = _derived("LLM_DATABASE_URL", values.database_url)

    # Where attempts are written before they are dialled: a local journal, by default in the data
    # folder, of at most so many bytes, which the disk takes at most so many milliseconds later (0:
    # before); or the database, for hosts without a lasting disk.
    ledger: LedgerPlace = _setting("LLM_LEDGER", values.ledger_place, "journal")
    journal_dir: Path = _derived("LLM_JOURNAL_DIR", values.folder)
    journal_max_bytes: int = _setting(
        "LLM_JOURNAL_MAX_BYTES", values.integer(1 << 20, 1 << 40), 256 << 20
    )
    journal_sync_ms: int = _setting("LLM_JOURNAL_SYNC_MS", values.integer(0, 1000), 100)

    # For how many whole months, beside the current one, usage records are kept; 0: for good. Sums
    # by day stay.
    usage_retention_months: int = _setting("LLM_USAGE_RETENTION_MONTHS", values.integer(0, 1200), 0)

    # The last configuration on disk, by default in the data folder with PostgreSQL and nowhere with
    # SQLite; and for how many seconds a configuration the database no longer confirms is used.
    snapshot_file: Path | None = _derived("LLM_SNAPSHOT_FILE", values.path)
    snapshot_max_age_seconds: float = _setting(
        "LLM_SNAPSHOT_MAX_AGE_SECONDS", values.number(1, 86_400), 900.0
    )

    # The listener. A client CA makes client certificates required: mutual TLS.
    listen: Address = _setting("LLM_LISTEN", values.address, Address("127.0.0.1", 50051))
    tls_cert_file: Path | None = _setting("LLM_TLS_CERT_FILE", values.path, None)
    tls_key_file: Path | None = _setting("LLM_TLS_KEY_FILE", values.path, None)
    tls_client_ca_file: Path | None = _setting("LLM_TLS_CLIENT_CA_FILE", values.path, None)
    allow_insecure_remote: bool = _setting(
        "LLM_ALLOW_INSECURE_REMOTE", values.override, default=False
    )

    # Who may call: by default everybody when embedded, else whoever shows a client key, a token of
    # the issuer, or a certificate that the identities file knows. Reflection is by default on
    # where everybody may call.
    auth: Auth = _derived("LLM_AUTH", values.auth)
    auth_identities_file: Path | None = _setting("LLM_AUTH_IDENTITIES_FILE", values.path, None)
    jwt_issuer: str = _setting("LLM_JWT_ISSUER", values.text, "")
    jwt_audience: str = _setting("LLM_JWT_AUDIENCE", values.text, "")
    jwt_keys: str = _setting("LLM_JWT_KEYS", values.key_set, "")
    jwt_algorithms: tuple[str, ...] = _setting("LLM_JWT_ALGORITHMS", values.algorithms, ("RS256",))
    jwt_tenant_claim: str = _setting("LLM_JWT_TENANT_CLAIM", values.text, "tenant")
    jwt_roles_claim: str = _setting("LLM_JWT_ROLES_CLAIM", values.text, "roles")
    reflection: bool = _derived("LLM_REFLECTION", values.switch)

    # Keys. At most one of the two is set; neither: the embedded default makes a key file.
    keyring_file: Path | None = _setting("LLM_KEYRING_FILE", values.path, None)
    encryption_key: str = field(default="", repr=False)

    # What may be dialled beyond the public internet, and whom to trust there besides.
    egress_allow: tuple[str, ...] = _setting("LLM_EGRESS_ALLOW", values.egress_entries, ())
    egress_ca_file: Path | None = _setting("LLM_EGRESS_CA_FILE", values.path, None)

    # Names credentials may refer to, by default vendors' usual ones with SQLite and none with
    # PostgreSQL; and the values of those that are set.
    credential_env_allow: tuple[str, ...] = _derived(
        "LLM_CREDENTIAL_ENV_ALLOW", values.variable_names
    )
    credential_environment: Mapping[str, str] = field(repr=False)

    # Credentials may be the identity this process runs as, which every tenant then shares.
    allow_workload_identity: bool = _setting(
        "LLM_ALLOW_WORKLOAD_IDENTITY", values.switch, default=False
    )

    # Where external secrets are: folders of mounted files, and a Vault server with the paths below
    # which credentials may point. Of token file and Kubernetes role one is set with the address.
    secret_folders: tuple[Path, ...] = _setting("LLM_SECRET_FOLDERS", values.folders, ())
    vault_addr: str = _setting("LLM_VAULT_ADDR", values.store_address, "")
    vault_paths: tuple[str, ...] = _setting("LLM_VAULT_PATHS", values.secret_paths, ())
    vault_namespace: str = _setting("LLM_VAULT_NAMESPACE", values.secret_path, "")
    vault_token_file: Path | None = _setting("LLM_VAULT_TOKEN_FILE", values.path, None)
    vault_kubernetes_role: str = _setting("LLM_VAULT_KUBERNETES_ROLE", values.text, "")
    vault_kubernetes_mount: str = _setting(
        "LLM_VAULT_KUBERNETES_MOUNT", values.secret_path, "kubernetes"
    )
    vault_kubernetes_token_file: Path = _setting(
        "LLM_VAULT_KUBERNETES_TOKEN_FILE", values.path, KUBERNETES_TOKEN_FILE
    )

    # The model of last resort. The variable is the one that names it: embedded, also an older one.
    default_model: str = _setting("LLM_DEFAULT_MODEL", values.text, "")
    default_model_variable: str = ""
    ollama_url: str = ""

    # Vocabularies of models whose makers' are not in the package, to count tokens by.
    vocabularies_file: Path | None = _setting("LLM_VOCABULARIES_FILE", values.path, None)

    # Tenants whose answers to calls with a request id are kept for a day, for repeats; "*": all.
    keep_answers: tuple[str, ...] = _setting("LLM_KEEP_ANSWERS", values.tenants, ())

    # Telemetry. The log format is by default text when embedded, else json. The sample ratio is
    # the share of new traces recorded.
    log_level: LogLevel = _setting("LLM_LOG_LEVEL", values.log_level, "INFO")
    log_format: LogFormat = _derived("LLM_LOG_FORMAT", values.log_format)
    otlp_endpoint: str = _setting("LLM_OTLP_ENDPOINT", values.endpoint, "")
    prometheus_listen: Address | None = _setting("LLM_PROMETHEUS_LISTEN", values.address, None)
    trace_sample_ratio: float = _setting("LLM_TRACE_SAMPLE_RATIO", values.number(0, 1), 1.0)
    deployment_environment: str = _setting("LLM_DEPLOYMENT_ENVIRONMENT", values.text, "")

    # From where on a provider's last minutes are worth an alert; 0: never.
    alert_window_seconds: int = _setting("LLM_ALERT_WINDOW_SECONDS", values.integer(10, 3600), 300)
    alert_min_attempts: int = _setting("LLM_ALERT_MIN_ATTEMPTS", values.integer(1, 1 << 30), 20)
    alert_error_rate_percent: int = _setting(
        "LLM_ALERT_ERROR_RATE_PERCENT", values.integer(0, 100), 10
    )
    alert_slow_seconds: float = _setting("LLM_ALERT_SLOW_SECONDS", values.number(0, 86_400), 30.0)
    alert_unavailable_attempts: int = _setting(
        "LLM_ALERT_UNAVAILABLE_ATTEMPTS", values.integer(0, 1 << 30), 5
    )
    alert_unpriced: bool = _setting("LLM_ALERT_UNPRICED", values.switch, default=True)

    # Limits of this process. Bytes of one message, either way; calls in flight, and of those the
    # most with one provider and of one tenant, by default four fifths and all; seconds.
    max_message_bytes: int = _setting(
        "LLM_MAX_MESSAGE_BYTES", values.integer(4096, 1 << 30), 32 << 20
    )
    max_concurrent_calls: int = _setting(
        "LLM_MAX_CONCURRENT_CALLS", values.integer(1, 100_000), MAX_CONCURRENT_CALLS
    )
    max_calls_per_provider: int = _derived("LLM_MAX_CALLS_PER_PROVIDER", values.integer(1, 100_000))
    max_calls_per_tenant: int = _derived("LLM_MAX_CALLS_PER_TENANT", values.integer(1, 100_000))
    max_call_seconds: float = _setting("LLM_MAX_CALL_SECONDS", values.number(1, 86_400), 600.0)
    drain_seconds: float = _setting("LLM_DRAIN_SECONDS", values.number(0, 86_400), 30.0)

    # What each tenant may do: requests, and tokens, input and output together. By default as much
    # as it likes. With a Redis or Valkey, all rate limits hold for all replicas together.
    rate_limit_per_minute: int | None = _setting("LLM_RATE_LIMIT_PER_MINUTE", _LIMIT, None)
    rate_limit_per_day: int | None = _setting("LLM_RATE_LIMIT_PER_DAY", _LIMIT, None)
    rate_limit_tokens_per_minute: int | None = _setting(
        "LLM_RATE_LIMIT_TOKENS_PER_MINUTE", _LIMIT, None
    )
    rate_limit_tokens_per_day: int | None = _setting("LLM_RATE_LIMIT_TOKENS_PER_DAY", _LIMIT, None)
    rate_limit_concurrent: int | None = _setting("LLM_RATE_LIMIT_CONCURRENT", _LIMIT, None)
    redis_url: RedisUrl | None = _setting("LLM_REDIS_URL", values.redis_url, None)
    # What a tenant's calls of one day, in UTC, may cost before an alert, in nano-USD. None: none.
    daily_cost_alert_threshold: int | None = _setting(
        "LLM_DAILY_COST_ALERT_THRESHOLD", values.usd, None
    )

    # Waiting for a provider, in seconds: to connect, for the first token, between two tokens.
    connect_timeout_seconds: float = _setting(
        "LLM_CONNECT_TIMEOUT_SECONDS", values.number(0.1, 300), 3.0
    )
    first_token_timeout_seconds: float = _setting(
        "LLM_FIRST_TOKEN_TIMEOUT_SECONDS", values.number(0.1, 3600), 60.0
    )
    idle_timeout_seconds: float = _setting(
        "LLM_IDLE_TIMEOUT_SECONDS", values.number(0.1, 3600), 30.0
    )
    # As slowly as a stream may come after its first token; 0: however slowly.
    min_output_tokens_per_second: float = _setting(
        "LLM_MIN_OUTPUT_TOKENS_PER_SECOND", values.number(0, 10_000), 0.0
    )

    # Reading on for callers who are gone, where a provider bills the whole answer anyway: seconds
    # and bytes of content of one answer, and how many at once.
    cancel_drain_seconds: float = _setting("LLM_CANCEL_DRAIN_SECONDS", values.number(0, 3600), 30.0)
    cancel_drain_max_bytes: int = _setting(
        "LLM_CANCEL_DRAIN_MAX_BYTES", values.integer(0, 1 << 30), 8 << 20
    )
    cancel_drain_max_calls: int = _setting(
        "LLM_CANCEL_DRAIN_MAX_CALLS", values.integer(0, 100_000), 100
    )
    # How long a vendor may take to say what an answer used that broke off; 0: it is not asked.
    cancel_ask_seconds: float = _setting("LLM_CANCEL_ASK_SECONDS", values.number(0, 60), 5.0)

    # Seconds between two looks at the database for changed configuration, and at the key file.
    config_poll_seconds: float = _setting("LLM_CONFIG_POLL_SECONDS", values.number(0.05, 300), 1.0)

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Self:
        """Read every variable. One that is set to nothing counts as not set.

        Raises:
            SettingsError: names every variable that is wrong, not only the first.
        """
        problems: dict[str, str] = {}
        found: dict[str, Any] = {}
        for each in fields(cls):
            variable = each.metadata.get("variable", "")
            text = environment.get(variable, "").strip()
            if not text:
                continue
            try:
                found[each.name] = each.metadata["read"](text)
            except ValueError as error:
                problems[variable] = str(error)
        settings = cls(**_complete(found, environment))
        for name, problem in (*settings._contradictions(), *_key_conflicts(environment)):
            problems.setdefault(name, problem)
        problems.update(_misspelled(environment, settings.credential_env_allow))
        if problems:
            raise SettingsError(problems)
        return settings

    @classmethod
    def variables(cls) -> tuple[str, ...]:
        """Every variable that is read, in order; not those credentials refer to."""
        names = [each.metadata["variable"] for each in fields(cls) if "variable" in each.metadata]
        return (*names, *KEY_VARIABLES, *legacy.VARIABLES)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the listener."""
        return self.listen.is_loopback

    @property
    def embedded(self) -> bool:
        """One process for one machine: SQLite behind a loopback listener."""
        return self.database_url.is_sqlite and self.is_loopback

    def _contradictions(self) -> Iterator[tuple[str, str]]:
        if self.tls_key_file and not self.tls_cert_file:
            yield "LLM_TLS_CERT_FILE", "must be set when LLM_TLS_KEY_FILE is"
        if self.tls_cert_file and not self.tls_key_file:
            yield "LLM_TLS_KEY_FILE", "must be set when LLM_TLS_CERT_FILE is"
        if self.tls_client_ca_file and not self.tls_cert_file:
            yield "LLM_TLS_CLIENT_CA_FILE", "needs LLM_TLS_CERT_FILE and LLM_TLS_KEY_FILE"
        guarded = self.tls_cert_file and self.tls_key_file and self.auth == "required"
        if not (self.is_loopback or guarded or self.allow_insecure_remote):
            yield (
                "LLM_LISTEN",
                "is reachable from other machines: set LLM_TLS_CERT_FILE and LLM_TLS_KEY_FILE, and "
                "LLM_AUTH=required, or listen on 127.0.0.1 (to serve unencrypted, or anybody: "
                f"LLM_ALLOW_INSECURE_REMOTE={values.OVERRIDE})",
            )
        if self.vault_addr and bool(self.vault_token_file) == bool(self.vault_kubernetes_role):
            yield (
                "LLM_VAULT_ADDR",
                "needs one of LLM_VAULT_TOKEN_FILE and LLM_VAULT_KUBERNETES_ROLE",
            )
        if self.vault_addr and not self.vault_paths:
            yield "LLM_VAULT_PATHS", "must say below which paths credentials may point"
        yield from self._access_contradictions()
        if set(self.variables()).intersection(self.credential_env_allow):
            yield "LLM_CREDENTIAL_ENV_ALLOW", "must not name a variable of this service itself"

    def _access_contradictions(self) -> Iterator[tuple[str, str]]:
        if self.auth_identities_file and not self.tls_client_ca_file:
            yield "LLM_AUTH_IDENTITIES_FILE", "needs LLM_TLS_CLIENT_CA_FILE"
        tokens = {
            "LLM_JWT_ISSUER": self.jwt_issuer,
            "LLM_JWT_AUDIENCE": self.jwt_audience,
            "LLM_JWT_KEYS": self.jwt_keys,
        }
        if any(tokens.values()):
            for name in (name for name, value in tokens.items() if not value):
                yield name, f"must be set with {', '.join(one for one in tokens if one != name)}"
        if self.auth == "open" and (self.auth_identities_file or any(tokens.values())):
            yield "LLM_AUTH", "must be required for certificates and tokens to be looked at"


def _complete(found: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Add the values that follow from others."""
    data_dir = found.get("data_dir", DATA_DIR)
    default = f"sqlite+aiosqlite:///{(data_dir / 'llm-service.db').as_posix()}"
    url = found.setdefault("database_url", DatabaseUrl(default))
    found.setdefault("journal_dir", data_dir / "journal")
    found.setdefault("snapshot_file", None if url.is_sqlite else data_dir / "snapshot")
    on_loopback = "listen" not in found or found["listen"].is_loopback
    found.setdefault("log_format", "text" if url.is_sqlite and on_loopback else "json")
    found.setdefault("auth", "open" if url.is_sqlite and on_loopback else "required")
    found.setdefault("reflection", found["auth"] == "open")
    calls = found.get("max_concurrent_calls", MAX_CONCURRENT_CALLS)
    found.setdefault("max_calls_per_provider", -(-calls * 4 // 5))
    found.setdefault("max_calls_per_tenant", calls)
    # Set to nothing, it allows nothing.
    usual = url.is_sqlite and "LLM_CREDENTIAL_ENV_ALLOW" not in environment
    allowed = found.setdefault("credential_env_allow", EMBEDDED_CREDENTIALS if usual else ())
    found["credential_environment"] = MappingProxyType(
        {name: environment[name] for name in allowed if environment.get(name)}
    )
    if "default_model" in found:
        found["default_model_variable"] = "LLM_DEFAULT_MODEL"
    elif url.is_sqlite and on_loopback:
        found["default_model"], found["default_model_variable"] = legacy.default_model(environment)
    if url.is_sqlite and on_loopback:
        found["ollama_url"] = environment.get("OLLAMA_URL", "").strip()
    keys = [key for name in KEY_VARIABLES if (key := environment.get(name, "").strip())]
    return found | {"encryption_key": next(iter(keys), "")}


def _key_conflicts(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    keys = {name: key for name in KEY_VARIABLES if (key := environment.get(name, "").strip())}
    if environment.get("LLM_KEYRING_FILE", "").strip():
        for name in keys:
            yield name, "must not be set beside LLM_KEYRING_FILE: move the key into that file"
    elif len(set(keys.values())) > 1:
        yield KEY_VARIABLES[1], f"differs from {KEY_VARIABLES[0]}: set one of them"


def _misspelled(environment: Mapping[str, str], allowed: tuple[str, ...]) -> dict[str, str]:
    """Unknown names that look like ours: a typo in a security setting must not pass silently."""
    ours = [name for name in Settings.variables() if name.startswith(_PREFIX)]
    tails = [name.removeprefix(_PREFIX) for name in ours]
    problems = {}
    for name in sorted(environment.keys() - set(ours) - set(allowed)):
        if name.upper().startswith(_PREFIX) and (match := _near(name.upper(), tails)):
            problems[name] = f"is not a variable of this service; did you mean {_PREFIX}{match}?"
    return problems


def _near(name: str, tails: list[str]) -> str:
    """What the name may have been meant to be; "": nothing we know."""
    from difflib import get_close_matches

    near = get_close_matches(name.removeprefix(_PREFIX), tails, n=1, cutoff=_NEAR_MISS)
    return near[0] if near else ""
