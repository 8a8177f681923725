"""Dockerfile and compose.yaml, as far as they can be held to the product without an engine: every
stage, file, command, setting and secret that they name is there."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

from api.app import create_app
from registry.cli.main import app
from registry.config import SECRETS, Settings, load_settings, variable_of

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
# From the standard Hub client and from Python; what is ours is asked of the settings.
FOREIGN = {"HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "PYTHONUNBUFFERED", "PATH"}


def instructions() -> list[tuple[str, str, str]]:
    """(stage, instruction, arguments) of the Dockerfile, with continued lines put together."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text("utf-8"))
    found, stage = [], ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stage = rest.split(" AS ")[1]
        found.append((stage, word, rest))
    return found


STEPS = instructions()
STAGES = {stage: rest.split()[0] for stage, word, rest in STEPS if word == "FROM"}


def arguments_of(word: str) -> list[str]:
    return [rest for _, each, rest in STEPS if each == word]


def known_variables() -> set[str]:
    variables = {variable_of(name) for name in Settings.model_fields}
    return variables | {f"{variable_of(name)}_FILE" for name in SECRETS} | FOREIGN


def assert_is_a_command(command: list[str]) -> None:
    """The command line takes it: each word and option is known. Nothing is run."""
    program, name, *rest = command
    group = typer.main.get_command(app)
    chosen = group.get_command(typer.Context(group), name)
    assert (program, chosen is not None) == ("loadplan", True), command
    chosen.make_context(name, rest)


# --- the Dockerfile ---


def test_every_stage_is_built_on_one_that_is_there_or_on_a_pinned_image():
    for stage, parent in STAGES.items():
        assert parent in STAGES or re.fullmatch(r"python:3\.\d+-slim-\w+", parent), stage


def test_what_is_copied_is_there_and_reaches_the_build():
    ignored = [
        line
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored[0] == "*"
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = set()
    for rest in arguments_of("COPY"):
        *sources, _ = rest.split()
        if sources[0].startswith("--from="):
            assert sources[0].removeprefix("--from=") in STAGES
            continue
        copied |= set(sources)
    assert all((ROOT / each).exists() for each in copied)
    assert copied == let_in


def test_every_package_of_the_wheel_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    copied = {word for rest in arguments_of("COPY") for word in rest.split()[:-1]}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    wanted = {
        name for name in packages if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    }
    assert wanted
    assert wanted <= copied
    assert {project["project"]["readme"], *project["project"]["license-files"]} <= copied
    extras = set(re.findall(r"\.\[(\w+)\]", " ".join(arguments_of("RUN"))))
    assert extras == {"runner"} <= set(project["project"]["optional-dependencies"])


def test_images_run_known_commands_with_known_settings_as_nobody_in_particular():
    for rest in arguments_of("CMD"):
        assert_is_a_command(json.loads(rest))
    for rest in arguments_of("ENV"):
        names = {word.partition("=")[0] for word in shlex.split(rest)}
        assert names <= known_variables()
    (user,) = arguments_of("USER")
    assert user.isdigit()
    assert int(user) > 0
    assert f"--uid {user} " in " ".join(arguments_of("RUN"))
    assert arguments_of("EXPOSE") == [str(Settings.model_fields["port"].default)]


def test_the_health_check_asks_for_a_route_that_is_there(tmp_path):
    (check,) = arguments_of("HEALTHCHECK")
    code = json.loads(check[check.index("[") :])[-1]
    compile(code, "HEALTHCHECK", "exec")
    port, path = re.search(r"127\.0\.0\.1:(\d+)(/\w+)", code).groups()
    assert int(port) == Settings.model_fields["port"].default
    routes = create_app(Settings(database_url=f"sqlite:///{tmp_path}/x.db")).openapi()["paths"]
    assert path in routes


# --- compose.yaml ---


def test_everything_that_a_service_names_is_there():
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            assert needed in SERVICES, name
            assert condition != "service_healthy" or "healthcheck" in SERVICES[needed], name
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in COMPOSE["volumes"], name
        given = set(service.get("secrets", ()))
        assert given <= COMPOSE["secrets"].keys(), name
        read = {
            value.removeprefix("/run/secrets/")
            for value in service.get("environment", {}).values()
            if value.startswith("/run/secrets/")
        }
        # Neither a secret that is not mounted, nor one that nobody reads.
        assert read == given, name


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_is_built_run_and_set_by_what_is_known(name):
    service = SERVICES[name]
    assert service["build"]["target"] in STAGES
    assert (ROOT / service["build"]["context"]).samefile(ROOT)
    if "command" in service:
        assert_is_a_command(service["command"])
    assert service["environment"].keys() <= known_variables()


@pytest.fixture
def settings_of(monkeypatch, tmp_path):
    """The settings that a service reads, its secrets as files of the test's."""
    texts = {
        "database_url": "postgresql+psycopg://loadplan:p@database/loadplan",
        "hub_token": "",
        "hub_webhook_secret": "s3cret",
    }

    def read(name):
        for variable, value in SERVICES[name]["environment"].items():
            if value.startswith("/run/secrets/"):
                secret = value.removeprefix("/run/secrets/")
                (tmp_path / secret).write_text(texts[secret] + "\n")
                value = str(tmp_path / secret)
            # ${NAME:-default} where the operator sets nothing.
            monkeypatch.setenv(variable, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
        return load_settings()

    return read


@pytest.mark.parametrize("name", OURS)
def test_each_service_starts_with_its_settings_on_the_one_database(settings_of, name):
    settings = settings_of(name)
    url = settings.database_url
    assert url.startswith("postgresql+psycopg://")
    assert "@database/" in url
    assert SERVICES["database"]["environment"]["POSTGRES_DB"] == url.rpartition("/")[2]
    assert settings.hf_token is None


def test_what_the_webhook_loses_is_swept(settings_of, monkeypatch):
    assert settings_of("api").hub_webhook_secret is not None
    monkeypatch.delenv("LOADPLAN_HUB_WEBHOOK_SECRET_FILE")
    scan = settings_of("scan")
    assert scan.hub_webhook_secret is None
    assert scan.swept == ("all",)


def test_the_container_is_the_sandbox_only_where_it_is_said(settings_of):
    assert settings_of("rehearse").sandbox == "process"


def test_queues_that_are_enqueued_have_a_worker():
    queues = {
        word
        for service in SERVICES.values()
        for word in service.get("command", ())
        if word in ("scan", "rehearse", "prove")
    }
    assert queues == {"scan", "rehearse"}


@pytest.mark.parametrize(
    "command",
    [["loadplan", "wrok"], ["other", "work"], ["loadplan", "work", "--quue", "scan"]],
)
def test_a_misspelt_command_would_be_seen(command):
    # The command line's own class for a wrong option is not public.
    with pytest.raises(Exception, match=r"wrok|other|No such option"):
        assert_is_a_command(command)
