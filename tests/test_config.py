"""Settings: the contract's table, secrets from files, and no misspelt name goes unnoticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from platformdirs import user_data_path
from pydantic import SecretStr, ValidationError

from registry.config import SECRETS, Settings, load_settings, variable_of
from registry.errors import SettingInvalid


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("LOADPLAN_", "HF_")):
            monkeypatch.delenv(name)


# Field, variable, default, a text to set it to, what is then read.
TABLE = [
    (
        "database_url",
        "LOADPLAN_DATABASE_URL",
        f"sqlite:///{user_data_path('loadplan') / 'loadplan.db'}",
        "postgresql+psycopg://u:p@h/d",
        "postgresql+psycopg://u:p@h/d",
    ),
    ("host", "LOADPLAN_HOST", "127.0.0.1", "0.0.0.0", "0.0.0.0"),
    ("port", "LOADPLAN_PORT", 8321, "80", 80),
    ("public_url", "LOADPLAN_PUBLIC_URL", None, "https://plans.example", "https://plans.example"),
    ("hub_webhook_secret", "LOADPLAN_HUB_WEBHOOK_SECRET", None, "s", SecretStr("s")),
    ("sweep", "LOADPLAN_SWEEP", (), "author:acme, base:a/b", ("author:acme", "base:a/b")),
    ("proof_devices", "LOADPLAN_PROOF_DEVICES", ("cuda",), "cuda, cpu", ("cuda", "cpu")),
    ("sandbox", "LOADPLAN_SANDBOX", "auto", "process", "process"),
    ("server", "LOADPLAN_SERVER", None, "http://127.0.0.1:8321", "http://127.0.0.1:8321"),
    ("token", "LOADPLAN_TOKEN", None, "lp_x", SecretStr("lp_x")),
    ("hf_endpoint", "HF_ENDPOINT", "https://huggingface.co", "http://mirror/", "http://mirror/"),
    ("hf_token", "HF_TOKEN", None, "hf_x", SecretStr("hf_x")),
    (
        "hf_home",
        "HF_HOME",
        Path("~/.cache/huggingface").expanduser(),
        "/data/hf",
        Path("/data/hf"),
    ),
]
IDS = [row[0] for row in TABLE]


def test_the_table_names_every_setting():
    assert set(IDS) == set(Settings.model_fields)
    assert {field: variable_of(field) for field in IDS} == {row[0]: row[1] for row in TABLE}


@pytest.mark.parametrize(("field", "variable", "default", "text", "value"), TABLE, ids=IDS)
def test_each_setting_has_its_default_and_its_variable(
    monkeypatch, field, variable, default, text, value
):
    assert getattr(load_settings(), field) == default
    monkeypatch.setenv(variable, text)
    assert getattr(load_settings(), field) == value
    # An empty variable is how shells and container files say that nothing is set.
    monkeypatch.setenv(variable, "")
    assert getattr(load_settings(), field) == default


@pytest.mark.parametrize("field", sorted(SECRETS))
def test_every_secret_can_come_from_a_file(monkeypatch, tmp_path, field):
    path = tmp_path / "secret"
    path.write_text("a secret\n")
    monkeypatch.setenv(f"{variable_of(field)}_FILE", str(path))
    value = getattr(load_settings(), field)
    assert (value.get_secret_value() if isinstance(value, SecretStr) else value) == "a secret"


@pytest.mark.parametrize("field", sorted(SECRETS))
def test_an_empty_file_is_no_secret_and_no_database(monkeypatch, tmp_path, field):
    """The Hub's webhook would else be open to whoever sends no secret."""
    (tmp_path / "secret").write_text("\n")
    monkeypatch.setenv(f"{variable_of(field)}_FILE", str(tmp_path / "secret"))
    if field == "database_url":
        with pytest.raises(SettingInvalid, match="LOADPLAN_DATABASE_URL"):
            load_settings()
    else:
        assert getattr(load_settings(), field) is None


def test_secrets_are_the_secret_fields_and_the_database_url():
    secret = {
        name
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    assert secret | {"database_url"} == SECRETS


def test_a_secret_that_is_set_twice_is_refused(monkeypatch, tmp_path):
    (tmp_path / "t").write_text("x")
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("HF_TOKEN_FILE", str(tmp_path / "t"))
    with pytest.raises(SettingInvalid, match="Both HF_TOKEN and HF_TOKEN_FILE"):
        load_settings()


def test_a_secret_file_that_cannot_be_read_is_named_by_its_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("LOADPLAN_TOKEN_FILE", str(tmp_path / "missing"))
    with pytest.raises(SettingInvalid, match="LOADPLAN_TOKEN_FILE"):
        load_settings()
    (tmp_path / "missing").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingInvalid, match="LOADPLAN_TOKEN_FILE"):
        load_settings()


@pytest.mark.parametrize(
    ("misspelt", "closest"),
    [
        ("LOADPLAN_DATABSE_URL", "LOADPLAN_DATABASE_URL"),
        ("LOADPLAN_PROOF_DEVICE", "LOADPLAN_PROOF_DEVICES"),
        ("LOADPLAN_TOKENFILE", "LOADPLAN_TOKEN_FILE"),
        ("LOADPLAN_HF_ENDPOINT", "HF_ENDPOINT"),
        ("LOADPLAN_", "LOADPLAN_"),
        ("LOADPLAN_HOST_FILE", "LOADPLAN_"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_closest_name(monkeypatch, misspelt, closest):
    monkeypatch.setenv(misspelt, "x")
    with pytest.raises(SettingInvalid, match=closest) as caught:
        load_settings()
    assert misspelt in caught.value.message
    assert caught.value.code == "setting-invalid"


def test_variables_of_the_tests_and_of_others_are_ignored(monkeypatch):
    monkeypatch.setenv("LOADPLAN_TEST_REQUIRE", "postgres")
    monkeypatch.setenv("LOADPLANNER", "x")
    monkeypatch.setenv("DATABASE_URL", "mysql://")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("LOADPLAN_PORT", "many"),
        ("LOADPLAN_PORT", "65536"),
        ("LOADPLAN_PUBLIC_URL", "plans.example"),
        ("LOADPLAN_SERVER", "ftp://host"),
        ("LOADPLAN_SERVER", "http://a b"),
        ("LOADPLAN_PROOF_DEVICES", "cuda,tpu"),
        ("LOADPLAN_PROOF_DEVICES", ","),
        ("LOADPLAN_SANDBOX", "none"),
        ("HF_ENDPOINT", "mirror"),
    ],
)
def test_a_value_that_cannot_be_read_names_the_variable_and_not_the_value(
    monkeypatch, variable, text
):
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingInvalid, match=variable) as caught:
        load_settings()
    assert caught.value.message.endswith(".")


def test_nothing_printed_holds_a_secret(monkeypatch):
    monkeypatch.setenv("LOADPLAN_DATABASE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("LOADPLAN_TOKEN", "hunter2")
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    monkeypatch.setenv("LOADPLAN_HUB_WEBHOOK_SECRET", "hunter2")
    assert "hunter2" not in repr(load_settings())


def test_settings_are_frozen_and_tests_build_them_by_name():
    settings = Settings(hf_endpoint="http://127.0.0.1:1", port=0)
    assert settings.hf_endpoint == "http://127.0.0.1:1"
    with pytest.raises(ValidationError):
        settings.port = 1
    with pytest.raises(ValidationError):
        Settings(prot=1)


def test_the_sweep_is_on_by_itself_only_where_the_webhook_is_served():
    assert Settings().swept == ()
    assert Settings(hub_webhook_secret="s").swept == ("all",)
    assert Settings(hub_webhook_secret="s", sweep="off").swept == ()
    assert Settings(sweep="author:acme").swept == ("author:acme",)
    with pytest.raises(ValidationError):
        Settings(sweep="everything")
