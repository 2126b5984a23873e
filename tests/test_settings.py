"""Settings: where they come from, which source counts, and what is said of those that cannot work."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ResourceNotFoundError
from azure.keyvault.secrets import SecretClient
from pydantic import Field, SecretStr
from pydantic_settings import (
    AWSSecretsManagerSettingsSource,
    AzureKeyVaultSettingsSource,
    BaseSettings,
    GoogleSecretManagerSettingsSource,
)

from lg_prod_nodes import ConfigurationError, Settings
from lg_prod_nodes.service.persistence import database

CANARY = "hunter2canary"
DSN = f"postgresql://ada:{CANARY}@db/app"
OTHER = f"postgresql://bob:{CANARY}@db/app"
KEY, OLD = "ab" * 32, "cd" * 32


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment and a working directory without settings."""
    for field in Settings.model_fields:
        for name in Settings.names_of(field):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def shown(secret: SecretStr | None) -> str:
    assert secret is not None
    return secret.get_secret_value()


def test_every_field_has_a_default_that_works() -> None:
    settings = Settings()
    assert settings.database_url is settings.redis_url is settings.vault_key is None
    assert (settings.pool_size, settings.grace, settings.log_level) == (10, 30.0, "INFO")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("DATABASE_URL", "database_url"),
        ("LG_PROD_DATABASE_URL", "database_url"),
        ("LG_PROD_NODES_DATA", "data_dir"),
        ("VALKEY_URL", "redis_url"),
        ("REDIS_URL", "redis_url"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "otlp_headers"),
    ],
)
def test_names_that_other_programs_use_are_known(
    name: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"redis_url": "valkey://v:1", "otlp_endpoint": "http://o:4318"}.get(field, DSN)
    monkeypatch.setenv(name, value)
    given = getattr(Settings(), field)
    assert (shown(given) if isinstance(given, SecretStr) else str(given)) in (
        value,
        str(Path(value)),
    )


def test_the_first_source_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An argument, the environment, `.env`, the secret folder, the file; whatever names they use."""

    class Mine(Settings, toml_file="settings.toml"):
        pass

    def dsn(name: str) -> str:
        return f"postgresql://{name}/app"

    def now(**given: Any) -> str:
        return shown(Mine(**given).database_url).split("/")[2]

    Path("settings.toml").write_text(f'database_url = "{dsn("file")}"\n')
    assert now() == "file"
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "database_url").write_text(dsn("folder") + "\n")
    monkeypatch.setenv("LG_PROD_SECRETS_DIR", str(folder))
    assert now() == "folder"
    Path(".env").write_text(f"DATABASE_URL={dsn('dotenv')}\n")
    assert now() == "dotenv"
    monkeypatch.setenv("DATABASE_URL", dsn("environment"))
    assert now() == "environment"
    monkeypatch.setenv("LG_PROD_DATABASE_URL", dsn("prefixed"))
    assert now() == "prefixed"
    assert now(database_url=dsn("argument")) == "argument"


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        ("toml", f'pool_size = 7\nvault_old_keys = ["{KEY}", "{OLD}"]\n'),
        ("yaml", f"pool_size: 7\nvault_old_keys: [{KEY}, {OLD}]\n"),
        ("json", json.dumps({"pool_size": 7, "vault_old_keys": [KEY, OLD]})),
    ],
)
def test_files_of_three_kinds_are_read(ending: str, text: str) -> None:
    Path(f"settings.{ending}").write_text(text)
    config: Any = {f"{ending}_file": f"settings.{ending}"}
    settings = type("Mine", (Settings,), {}, **config)()
    assert settings.pool_size == 7
    assert [shown(key) for key in settings.vault_old_keys] == [KEY, OLD]


def test_keys_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LG_PROD_VAULT_OLD_KEYS", f"{KEY}, {OLD}")
    assert [shown(key) for key in Settings().vault_old_keys] == [KEY, OLD]


def test_tells_all_that_is_wrong_at_once_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "DATABASE_URL": f"mysql://ada:{CANARY}@db/app",
        "REDIS_URL": f"http://:{CANARY}@cache",
        "LG_PROD_VAULT_KEY": CANARY,
        "LG_PROD_VAULT_OLD_KEYS": f"{KEY},{CANARY}",
        "LG_PROD_REDACT_KEY": CANARY,
        "LG_PROD_POOL_SIZE": "none",
        "LG_PROD_GRACE": "-1",
        "LG_PROD_LOG_LEVEL": "loud",
        "LG_PROD_OTLP_ENDPOINT": f"http://ada:{CANARY}@collector",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    told = str(caught.value)
    assert told.count(";") > len(wrong)
    for field in ("DATABASE_URL", "REDIS_URL", "VAULT_KEY", "VAULT_OLD_KEYS", "REDACT_KEY"):
        assert f"LG_PROD_{field} (not shown)" in told
    assert "LG_PROD_POOL_SIZE is 'none': " in told
    assert "LG_PROD_LOG_LEVEL is 'loud': choose one of" in told
    assert "in otlp_headers" in told
    assert CANARY not in told
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_subclass_has_fields_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Settings):
        model_key: SecretStr
        model: str = "small"

    with pytest.raises(ConfigurationError, match="LG_PROD_MODEL_KEY is missing; set it"):
        Mine()
    monkeypatch.setenv("LG_PROD_MODEL_KEY", CANARY)
    assert shown(Mine().model_key) == CANARY
    assert CANARY not in repr(Mine())


def test_a_value_that_cannot_be_parsed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Settings):
        tenants: dict[str, int] = Field(default_factory=dict)

    monkeypatch.setenv("LG_PROD_TENANTS", CANARY)
    with pytest.raises(ConfigurationError, match="settings cannot be read") as caught:
        Mine()
    assert CANARY not in str(caught.value)


def test_a_secret_folder_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LG_PROD_SECRETS_DIR", "nowhere")
    with pytest.raises(ConfigurationError, match="LG_PROD_SECRETS_DIR is 'nowhere'"):
        Settings()


def test_other_variables_of_an_env_file_are_left_alone() -> None:
    Path(".env").write_text("OPENAI_API_KEY=x\nLG_PROD_POOL_SIZE=3\n")
    assert Settings().pool_size == 3


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().pool_size = 3


def test_the_database_of_settings_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(f"DATABASE_URL={DSN}\n")
    with database() as chosen:
        assert shown(chosen) == DSN
    with database(OTHER) as chosen:
        assert shown(chosen) == OTHER


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of something that answers as AWS Secrets Manager does."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert asked == {"SecretId": "prod/desk"}
            secret = {"DATABASE_URL": DSN, "LG_PROD_VAULT_KEY": KEY}
            body = json.dumps({"Name": "x", "SecretString": json.dumps(secret)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore", "ignore::ResourceWarning")
def test_aws_secrets_manager(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *args: Any, **sources: Any
        ) -> tuple[Any, ...]:
            secrets = AWSSecretsManagerSettingsSource(
                settings_cls,
                "prod/desk",
                region_name="eu-central-1",
                endpoint_url=aws,
                case_sensitive=False,
            )
            return (*super().settings_customise_sources(settings_cls, *args, **sources), secrets)

    settings = Mine()
    assert shown(settings.database_url) == DSN
    assert shown(settings.vault_key) == KEY
    monkeypatch.setenv("DATABASE_URL", OTHER)
    assert shown(Mine().database_url) == OTHER


class Credential:
    """Lets in whom it is asked for."""

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("x", 2_000_000_000)


def test_azure_key_vault(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"DATABASE-URL": DSN, "LG-PROD-VAULT-KEY": KEY}

    def get_secret(self: SecretClient, name: str) -> Any:
        if name not in kept:
            raise ResourceNotFoundError
        return SimpleNamespace(value=kept[name])

    def listed(self: SecretClient) -> list[Any]:
        return [SimpleNamespace(name=name, enabled=True) for name in kept]

    monkeypatch.setattr(SecretClient, "get_secret", get_secret)
    monkeypatch.setattr(SecretClient, "list_properties_of_secrets", listed)

    class Mine(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *args: Any, **sources: Any
        ) -> tuple[Any, ...]:
            secrets = AzureKeyVaultSettingsSource(
                settings_cls,
                "https://desk.vault.azure.net",
                Credential(),
                case_sensitive=False,
                dash_to_underscore=True,
            )
            return (*super().settings_customise_sources(settings_cls, *args, **sources), secrets)

    settings = Mine()
    assert shown(settings.database_url) == DSN
    assert shown(settings.vault_key) == KEY


class GoogleClient:
    """Answers as Google's `SecretManagerServiceClient` does."""

    kept: ClassVar = {"DATABASE_URL": DSN, "LG_PROD_VAULT_KEY": KEY}

    def common_project_path(self, project: str) -> str:
        return f"projects/{project}"

    def secret_version_path(self, project: str, secret: str, version: str) -> str:
        return f"projects/{project}/secrets/{secret}/versions/{version}"

    def parse_secret_path(self, path: str) -> dict[str, str]:
        return {"secret": path.rsplit("/", 1)[1]}

    def list_secrets(self, parent: str) -> list[Any]:
        return [SimpleNamespace(name=f"{parent}/secrets/{name}") for name in self.kept]

    def access_secret_version(self, name: str) -> Any:
        value = self.kept[name.split("/")[3]]
        return SimpleNamespace(payload=SimpleNamespace(data=value.encode()))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_google_secret_manager() -> None:
    class Mine(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *args: Any, **sources: Any
        ) -> tuple[Any, ...]:
            client: Any = GoogleClient()
            secrets = GoogleSecretManagerSettingsSource(
                settings_cls, project_id="desk", secret_client=client, case_sensitive=False
            )
            return (*super().settings_customise_sources(settings_cls, *args, **sources), secrets)

    settings = Mine()
    assert shown(settings.database_url) == DSN
    assert shown(settings.vault_key) == KEY
