"""`Settings`: operator configuration from the environment, files, secret folders and secret managers."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    Field,
    SecretBytes,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
    YamlConfigSettingsSource,
)

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.secret import MAKE_KEY

PREFIX = "LG_PROD_"
EMBEDDED = "embedded"
"""Value used instead of a DSN: starts a PostgreSQL with the program, for development and tests."""

_KEY = re.compile(r"(?:[0-9a-fA-F]{2}){32}")
_REDIS = re.compile(r"(?:redis|valkey)(?:s|\+unix|\+sentinel)?://.+")


def _named(*others: str, **settings: Any) -> Any:
    """Declare a field that can also be set by unprefixed names used by other programs."""
    return Field(default=None, validation_alias=AliasChoices(*others), **settings)


class Settings(BaseSettings):
    """Operator settings: databases, keys, sizes. All secrets are `SecretStr`, which hides its value in output.

    Each value comes from the first of these sources that defines it: an argument; an environment variable, which is the
    field's name with the prefix `LG_PROD_`; the `.env` file of the working directory; a file of the secret folder,
    named like the environment variable; a TOML, YAML or JSON file. Subclass it to add fields, files and secret
    managers.

    Everything in this library that takes a secret accepts `SecretStr`: `Vault(settings.database_url,
    key=settings.vault_key)`.

    Attributes:
        database_url: The Postgres, `postgresql://user:password@host:5432/database`, or `embedded` for one that starts
            with the program; also from `DATABASE_URL`. The default of `Production` and the server's factories.
        allowed_types: Classes that checkpoints may contain besides those of the graph's state; in the environment,
            `module:Name` separated by commas.
        pool_size: The maximum number of connections that a checkpointer and a store share; each of the server's
            factories has its own.
        data_dir: The folder of the embedded PostgreSQL; also from `LG_PROD_NODES_DATA`.
        redis_url: The Redis or Valkey, `redis://:password@host:6379/0`; also from `REDIS_URL` or `VALKEY_URL`.
        vault_key: The master key of a `Vault`: 32 bytes as 64 hexadecimal digits.
        vault_old_keys: Former master keys; in the environment, separated by commas.
        redact_key: The key of `Redact(strategy="hash")`, in hexadecimal digits.
        ledger_journal: The folder of a `Ledger`'s journal.
        grace: Seconds that runs have to finish at shutdown, for `GracefulShutdown`.
        log_level: The minimum level to log.
        log_json: Whether log lines are JSON. If unset, they are unless the output is a terminal.
        otlp_endpoint: The base URL of the OpenTelemetry collector for HTTP; also from `OTEL_EXPORTER_OTLP_ENDPOINT`,
            which OpenTelemetry's own exporters read too.
        otlp_headers: Headers for the collector, `name=value` separated by commas; also from
            `OTEL_EXPORTER_OTLP_HEADERS`.

    Raises:
        ConfigurationError: A value is invalid. The message lists every problem and shows no secret.

    Example:
        ```python
        settings = Settings()
        configure_logging(level=settings.log_level, json=settings.log_json)
        with Production(builder, policies, postgres=settings.database_url) as app:
            ...
        ```
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
        validate_default=True,
    )

    database_url: SecretStr | None = _named("LG_PROD_DATABASE_URL", "DATABASE_URL")
    allowed_types: Annotated[tuple[str, ...], NoDecode] = ()
    pool_size: int = Field(default=10, ge=1)
    data_dir: Path | None = _named("LG_PROD_DATA_DIR", "LG_PROD_NODES_DATA")
    redis_url: SecretStr | None = _named("LG_PROD_REDIS_URL", "REDIS_URL", "VALKEY_URL")
    vault_key: SecretStr | None = None
    vault_old_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    redact_key: SecretStr | None = None
    ledger_journal: Path | None = None
    grace: float = Field(default=30.0, ge=0)
    log_level: str = "INFO"
    log_json: bool | None = None
    otlp_endpoint: str | None = _named("LG_PROD_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    otlp_headers: SecretStr | None = _named("LG_PROD_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = "; ".join(self._problems(error))
            raise ConfigurationError(f"settings cannot be used: {problems}") from None
        except SettingsError as error:
            raise ConfigurationError(f"settings cannot be read: {error}") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order of precedence. A subclass adds its own."""
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            *_secret_folder(settings_cls),
            file_secret_settings,
            TomlConfigSettingsSource(settings_cls),
            YamlConfigSettingsSource(settings_cls),
            JsonConfigSettingsSource(settings_cls),
        )

    @classmethod
    def names_of(cls, field: str) -> tuple[str, ...]:
        """Return the environment variables of a field, in order of precedence."""
        alias = cls.model_fields[field].validation_alias
        if isinstance(alias, AliasChoices):
            return tuple(str(name) for name in alias.choices)
        return (alias,) if isinstance(alias, str) else (f"{PREFIX}{field}".upper(),)

    @classmethod
    def is_secret(cls, field: str) -> bool:
        """Return whether the values of a field must not be shown."""
        annotation = repr(cls.model_fields[field].annotation)
        return SecretStr.__name__ in annotation or SecretBytes.__name__ in annotation

    @field_validator("database_url")
    @classmethod
    def _is_a_dsn(cls, dsn: SecretStr | None) -> SecretStr | None:
        if dsn is not None and dsn.get_secret_value() != EMBEDDED:
            from lg_prod_nodes.databases.dsn import host_of

            host_of(dsn)
        return dsn

    @field_validator("redis_url")
    @classmethod
    def _is_a_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _REDIS.fullmatch(url.get_secret_value()):
            raise ValueError("write redis://user:password@host:6379/0, or valkey://...")
        return url

    @field_validator("vault_old_keys", "allowed_types", mode="before")
    @classmethod
    def _apart(cls, given: Any) -> Any:
        return [one.strip() for one in given.split(",")] if isinstance(given, str) else given

    @field_validator("allowed_types")
    @classmethod
    def _are_types(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not re.fullmatch(r"[\w.]+:\w+", name):
                raise ValueError("write module:Name, several separated by commas")
        return names

    @field_validator("vault_key", "vault_old_keys")
    @classmethod
    def _are_keys(cls, given: Any) -> Any:
        for key in given if isinstance(given, tuple) else (given,):
            if key is not None and not _KEY.fullmatch(key.get_secret_value()):
                raise ValueError(f"give 64 hexadecimal digits, as {MAKE_KEY} makes them")
        return given

    @field_validator("redact_key")
    @classmethod
    def _is_hexadecimal(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(r"(?:[0-9a-fA-F]{2})+", key.get_secret_value()):
            raise ValueError(f"give hexadecimal digits, as {MAKE_KEY} makes them")
        return key

    @field_validator("log_level")
    @classmethod
    def _is_a_level(cls, level: str) -> str:
        known = logging.getLevelNamesMapping()
        if level.upper() not in known:
            raise ValueError(f"choose one of {', '.join(known)}")
        return level.upper()

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_an_endpoint(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "http://unset")
        if "@" in parts.netloc:
            raise ValueError("write it without a user and password, and give these in otlp_headers")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("write http://host:4318 or https://host:4318")
        return url

    def _problems(self, error: ValidationError) -> Iterator[str]:
        for problem in error.errors(include_url=False, include_context=False):
            yield self._problem(problem)

    @classmethod
    def _problem(cls, problem: ErrorDetails) -> str:
        text = problem["msg"].removeprefix("Value error, ")
        field = cls._field_at(problem["loc"])
        if field is None:
            return text
        name = cls.names_of(field)[0]
        if problem["type"] == "missing":
            return f"{name} is missing; set it"
        if cls.is_secret(field) or "@" in str(problem["input"]):
            return f"{name} (not shown): {text}"
        return f"{name} is {problem['input']!r}: {text}"

    @classmethod
    def _field_at(cls, place: tuple[int | str, ...]) -> str | None:
        """Return the field of a problem, which pydantic reports by field name or by environment variable."""
        given = str(place[0]).lower() if place else ""
        for field in cls.model_fields:
            if given in (field, *map(str.lower, cls.names_of(field))):
                return field
        return None


def _secret_folder(settings_cls: type[BaseSettings]) -> Iterator[PydanticBaseSettingsSource]:
    """Yield the folder named by `LG_PROD_SECRETS_DIR`, for services that cannot subclass `Settings`."""
    if folder := os.environ.get(f"{PREFIX}SECRETS_DIR"):
        if not Path(folder).is_dir():
            raise ConfigurationError(
                f"{PREFIX}SECRETS_DIR is {folder!r}, which is no folder; mount the secrets there, or unset it"
            )
        yield SecretsSettingsSource(settings_cls, folder)
