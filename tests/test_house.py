"""Rules of the house that no other tool checks: caps, purity, light imports, the built wheel."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("registry", "api", "workers", "migrations")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
DOMAIN = sorted([*(ROOT / "registry/domain").rglob("*.py"), ROOT / "registry/errors.py"])

MAX_SOURCE_LINES = 400
MAX_TEST_LINES = 600
MAX_FUNCTION_LINES = 60
HEAVY = {
    *("torch", "transformers", "peft", "accelerate", "safetensors", "numpy"),
    *("sqlalchemy", "alembic", "dbos", "psycopg", "fastapi", "starlette", "uvicorn"),
    *("aiohttp", "asyncio", "huggingface_hub", "httpx2", "pydantic", "pydantic_settings"),
    *("rich", "jinja2"),
}
RUNNER = ("torch", "transformers", "peft", "accelerate", "safetensors", "sentencepiece")
# Words for a file that nobody can guess the content of, and marks of unfinished work.
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "service", "misc"}
UNFINISHED = re.compile(
    r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|raise NotImplemented" + r"Error(?:\(\))?\s*$",
    re.MULTILINE,
)
HOME_PATH = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/\w")
LOOSE_IGNORE = re.compile(r"#\s*(?:type: ignore|noqa)(?![\[:])")


def named(path):
    return str(path.relative_to(ROOT))


def lines_over(paths, cap):
    counted = {named(path): len(path.read_text("utf-8").splitlines()) for path in paths}
    return {name: count for name, count in counted.items() if count > cap}


def functions(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def imports(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def house_files():
    """What a clone holds, or will: files that git ignores are not the house."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, check=False, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def text_of(path):
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


def python(code, **environment):
    """Run `code` in a fresh interpreter with the checkout on its path."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_no_source_file_is_longer_than_a_screenful_of_screens():
    assert lines_over(SOURCES, MAX_SOURCE_LINES) == {}


def test_no_test_file_is_too_long():
    assert lines_over(TESTS, MAX_TEST_LINES) == {}


def test_no_function_is_too_long():
    # A migration is a list of tables, however long, and never changed again.
    long = {
        f"{named(path)}:{name}": count
        for path in SOURCES
        if path.parent.name != "versions"
        for name, count in functions(path)
        if count > MAX_FUNCTION_LINES
    }
    assert long == {}


def test_every_file_has_a_name_that_says_what_is_in_it():
    assert [named(path) for path in SOURCES if path.stem in VAGUE_NAMES] == []


@pytest.mark.parametrize("path", DOMAIN, ids=named)
def test_the_domain_imports_the_standard_library_only(path):
    allowed = {*sys.stdlib_module_names, "registry"}
    outside = {name for name in imports(path) if name.split(".")[0] not in allowed}
    assert outside == set()
    upward = {
        name
        for name in imports(path)
        if name.startswith("registry.") and not name.startswith(("registry.domain", "registry.err"))
    }
    assert upward == set()


def test_only_the_session_commits():
    # Migrations run before there is a schema that the session could speak to.
    allowed = {ROOT / "registry/db/session.py", ROOT / "migrations/connection.py"}
    found = [named(path) for path in SOURCES if path not in allowed and ".commit(" in text_of(path)]
    assert found == []


def test_nothing_is_left_unfinished():
    found = [named(path) for path in house_files() if UNFINISHED.search(text_of(path))]
    assert found == []


def test_no_check_is_switched_off_without_its_name():
    found = [named(path) for path in [*SOURCES, *TESTS] if LOOSE_IGNORE.search(text_of(path))]
    assert found == []


def test_no_file_names_a_place_on_somebodys_machine():
    found = {
        named(path): match.group()
        for path in house_files()
        if (match := HOME_PATH.search(text_of(path)))
    }
    assert found == {}


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from registry.cli.main import main\n"
        "sys.argv = ['loadplan', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert "check" in done.stdout
    loaded = set(done.stderr.split())
    assert {name.split(".")[0] for name in loaded} & HEAVY == set()
    # The rules of planning are a third of all that a command would import.
    assert "registry.domain.plan" not in loaded


def test_the_http_client_imports_neither_torch_nor_a_database():
    if not (ROOT / "registry/client.py").exists():
        pytest.skip("there is no HTTP client yet")
    done = python("import sys, registry.client\nprint('\\n'.join(sys.modules))")
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded & (HEAVY - {"asyncio", "httpx2", "rich"}) == set()


def test_a_plain_install_scans_plans_and_serves_without_the_runner_extra():
    code = (
        "import sys\n"
        f"blocked = {RUNNER!r}\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in blocked:\n"
        "            raise ImportError(f'{name} is not installed')\n"
        "sys.meta_path.insert(0, Block())\n"
        "import api.app, registry.scanning, registry.planning, registry.hub\n"
        "import registry.db.session, registry.cli.main, migrations.upgrade\n"
        "from registry.domain.plan import compute_plan\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in blocked]\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr


def readme_text():
    if not (ROOT / "README.md").exists():
        pytest.skip("there is no README yet")
    return (ROOT / "README.md").read_text("utf-8")


def test_every_setting_is_named_in_the_readme():
    from registry.config import Settings, variable_of

    readme = readme_text()
    names = {variable_of(name) for name in Settings.model_fields}
    assert "LOADPLAN_DATABASE_URL" in names
    assert {name for name in names if name not in readme} == set()


def test_every_command_of_the_help_is_named_in_the_readme():
    from registry.cli.main import app

    readme = readme_text()
    commands = [command.name for command in app.registered_commands]
    commands += [group.name for group in app.registered_groups]
    assert {"check", "plan", "scan"} <= set(commands)
    assert [name for name in commands if f"loadplan {name}" not in readme] == []


@pytest.fixture(scope="session")
def unpacked_wheel(tmp_path_factory):
    """The wheel, built from the checkout and unpacked as pip would: no sources beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for path in house_files():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*build, "--wheel-dir", str(folder), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("loadplan-*.whl")
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(site), str(wheel)], check=True)
    return site


def test_the_wheel_holds_every_module_migration_template_and_static_file(unpacked_wheel):
    needed = {
        path.relative_to(ROOT)
        for path in house_files()
        if path.relative_to(ROOT).parts[0] in PACKAGES and "__pycache__" not in path.parts
    }
    missing = {str(path) for path in needed if not (unpacked_wheel / path).is_file()}
    assert missing == set()


def test_the_wheel_works_in_an_empty_folder(unpacked_wheel, tmp_path):
    """`list` opens, and so migrates, a new database: migrations travel with the package."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LOADPLAN_")},
        "PYTHONPATH": str(unpacked_wheel),
        "LOADPLAN_DATABASE_URL": f"sqlite:///{tmp_path}/registry.sqlite3",
    }
    code = (
        f"import registry; assert registry.__file__.startswith({str(unpacked_wheel)!r})\n"
        "import sys; from registry.cli.main import main\n"
        "sys.argv = ['loadplan', 'list', '--json']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_command_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"] == {"loadplan": "registry.cli.main:main"}
