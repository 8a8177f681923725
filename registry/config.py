"""Settings, read once from the environment by the entry points and passed down from there."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_data_path
from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from registry.errors import SettingInvalid

PREFIX = "LOADPLAN_"
# Variables of the test suite share the prefix; they are none of the product's business.
_IGNORED = "LOADPLAN_TEST_"

Device = Literal["cuda", "cpu"]
SweepScope = Annotated[str, Field(pattern=r"^(all|off|author:[^/\s]+|base:\S+)$")]
HttpUrl = Annotated[str, Field(pattern=r"^https?://[^/\s]+(/\S*)?$")]


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _default_database_url() -> str:
    return f"sqlite:///{user_data_path('loadplan') / 'loadplan.db'}"


class Settings(BaseSettings):
    """Every setting there is. A field `x` is the variable `LOADPLAN_X` unless an alias is given."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", populate_by_name=True, env_ignore_empty=True
    )

    # SQLite on a file, or postgresql+psycopg://… for many machines. May hold a password.
    database_url: str = Field(default_factory=_default_database_url, repr=False, min_length=1)
    # Where `loadplan serve` listens.
    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=0, le=65535)
    # Where readers reach the service, for links in messages and badges; None: as the request says.
    public_url: HttpUrl | None = None
    # What the Hub's webhook must send as X-Webhook-Secret; None: the endpoint does not exist.
    hub_webhook_secret: SecretStr | None = None
    # What the sweep lists: all, author:NAME, base:REPO, or off. None given: all where the Hub's
    # webhook is served, because that loses events; else off.
    sweep: Annotated[tuple[SweepScope, ...], NoDecode, BeforeValidator(_split)] = ()
    # Devices whose passed proof makes an adapter compatible.
    proof_devices: Annotated[tuple[Device, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=("cuda",), min_length=1
    )
    # auto: bubblewrap, or no proofs. process: the operator says that the container is the sandbox.
    sandbox: Literal["auto", "process"] = "auto"
    # The service that commands and the SDK ask, and the token they send.
    server: HttpUrl | None = None
    token: SecretStr | None = None
    # Standard variables of the Hub, with their usual meaning.
    hf_endpoint: HttpUrl = Field(default="https://huggingface.co", validation_alias="HF_ENDPOINT")
    hf_token: SecretStr | None = Field(default=None, validation_alias="HF_TOKEN")
    hf_home: Path = Field(
        default=Path("~/.cache/huggingface").expanduser(), validation_alias="HF_HOME"
    )

    @property
    def swept(self) -> tuple[str, ...]:
        """The scopes to sweep."""
        named = self.sweep or (("all",) if self.hub_webhook_secret is not None else ())
        return tuple(scope for scope in named if scope != "off")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _SecretFiles(settings_cls)


class _SecretFiles(PydanticBaseSettingsSource):
    """`NAME_FILE` names a file that holds the secret `NAME`, as container platforms mount it."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = variable_of(field_name)
        path = os.environ.get(f"{variable}_FILE")
        if field_name not in SECRETS or not path:
            return None, field_name, False
        if os.environ.get(variable):
            raise SettingInvalid(f"Both {variable} and {variable}_FILE are set.")
        try:
            # Editors and `echo` end files with a line break; no secret does.
            text = Path(path).read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingInvalid(f"{variable}_FILE names a file that cannot be read.") from error
        if not text and field_name != "database_url":
            # As an empty variable: a secret of no characters would let everybody in.
            return None, field_name, False
        return text, field_name, False

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                values[key] = value
        return values


SECRETS = frozenset({"database_url", "hub_webhook_secret", "token", "hf_token"})


def variable_of(field_name: str) -> str:
    """The environment variable of a field."""
    alias = Settings.model_fields[field_name].validation_alias
    return alias if isinstance(alias, str) else f"{PREFIX}{field_name.upper()}"


def load_settings() -> Settings:
    """Settings from the environment. Raises SettingInvalid."""
    _refuse_unknown(os.environ)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingInvalid(_explained(error)) from None


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    """A misspelt setting would otherwise be a default that nobody chose."""
    known = {variable_of(name) for name in Settings.model_fields}
    known |= {f"{variable_of(name)}_FILE" for name in SECRETS}
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name.startswith(_IGNORED) or name in known:
            continue
        close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
        raise SettingInvalid(f"{name} is not a setting; the closest is {close[0]}.", setting=name)


def _explained(error: ValidationError) -> str:
    """What is wrong with which variable, without the value: it may be a secret."""
    first = error.errors(include_input=False, include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    variable = variable_of(name) if name in Settings.model_fields else name
    return f"{variable} cannot be read: {first['msg']}."
