"""Early pytest plugin: real servers for the whole run, started before Django's settings are read.

Loaded by `-p tests.servers.plugin` in pyproject.toml. Under xdist only the controller starts them; each
worker uses Redis databases, a VAR_DIR and (through pytest-django) a test database of its own. Options:

    --db postgres|sqlite   the database engine under test (postgres by default)
    --durable              fsync on: for benchmarks

TEST_DATABASE_URL and TEST_REDIS_URL name running servers to use instead. The Redis server's databases
are written to and emptied, from the number in the URL upwards.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from sync import embedded_valkey
from sync.process_tree import ProcessTree
from tests.servers import postgres

# Fixtures for every test: a plugin's names are found without an import in the test.
from tests.servers.processes import (  # noqa: F401
    _worker_of_this_run,
    celery_worker_process,
    manage_here,
    run_manage,
    start_manage,
    subprocess_environment,
    worker_settings,
)

# Fixed, so that a failure can be run again with the same keys. Worth nothing anywhere else.
SECRET_KEY = "only-for-tests-" + "0123456789abcdef" * 4
FIELD_ENCRYPTION_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

# The broker's and the cache's database number for each worker, and one pair for a run without xdist.
_DATABASES_PER_WORKER = 2
_REDIS_DATABASES = 64
_FOLDER_PREFIX = "slotkeeper-test-"

_tree: ProcessTree | None = None
_folder: Path | None = None


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("servers", "the servers the tests run on")
    group.addoption(
        "--db", choices=("postgres", "sqlite"), default=None, help="database engine (default: postgres)"
    )
    group.addoption("--durable", action="store_true", default=False, help="fsync on, for benchmarks")


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    options = early_config.known_args_namespace
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        _set_up_worker(worker)
    elif not (options.help or getattr(options, "version", 0)):
        _set_up_servers(db=options.db or "postgres", durable=options.durable)
    return (yield)


def _set_up_servers(*, db: str, durable: bool) -> None:
    global _folder
    # Short: a Unix socket's path holds about a hundred bytes.
    _remove_left_over_folders()
    _folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-"))
    atexit.register(_stop_servers)
    environment = {
        "DEBUG": "false",
        "ENVIRONMENT": "test",
        "SECRET_KEY": SECRET_KEY,
        "FIELD_ENCRYPTION_KEY": FIELD_ENCRYPTION_KEY,
        "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1],testserver",
        "PUBLIC_URL": "http://testserver",
        "TASK_VISIBILITY_TIMEOUT_SECONDS": "10",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_FORMAT": "json",
        "BACKGROUND_NICENESS": "0",  # what is waited for here is mostly the worker
        "SLOTKEEPER_TEST_FOLDER": str(_folder),
        "SLOTKEEPER_TEST_DB": db,
    }
    for name in ("SECRET_KEY_FILE", "FIELD_ENCRYPTION_KEY_FILE", "DATABASE_URL", "CACHE_URL", "SENTRY_DSN"):
        os.environ.pop(name, None)  # a developer's own shell must not reach the tests
    try:
        environment["REDIS_URL"] = os.environ.get("TEST_REDIS_URL") or _start_valkey(_folder)
        if db == "postgres":
            environment["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL") or _start_postgres(
                _folder, durable=durable
            )
    except (postgres.NoPostgres, embedded_valkey.NoServer, TimeoutError) as error:
        raise pytest.UsageError(str(error)) from None
    os.environ.update(environment)
    os.environ["SLOTKEEPER_TEST_REDIS_URL"] = environment["REDIS_URL"]
    _use_var_dir("main")


def _remove_left_over_folders() -> None:
    """A killed run takes its servers with it (`sync/guardian.py`) and leaves its folder."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        process = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, PermissionError):
            continue


def _set_up_worker(worker: str) -> None:
    number = 1 + int(worker.removeprefix("gw"))
    base = os.environ["SLOTKEEPER_TEST_REDIS_URL"]
    os.environ["REDIS_URL"] = _with_database(base, _DATABASES_PER_WORKER * number)
    _use_var_dir(worker)


def _use_var_dir(name: str) -> None:
    var_dir = Path(os.environ["SLOTKEEPER_TEST_FOLDER"]) / name
    var_dir.mkdir(mode=0o700, exist_ok=True)
    os.environ["VAR_DIR"] = str(var_dir)
    if os.environ["SLOTKEEPER_TEST_DB"] == "sqlite":
        os.environ["DATABASE_URL"] = f"sqlite:///{var_dir / 'slotkeeper.sqlite3'}"


def _with_database(url: str, offset: int) -> str:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}?db={offset}"
    number = int(parts.path.strip("/") or "0") + offset
    return urlunsplit((parts.scheme, parts.netloc, f"/{number}", parts.query, ""))


def _process_tree(folder: Path) -> ProcessTree:
    global _tree
    if _tree is None:
        _tree = ProcessTree(log_dir=folder)
    return _tree


def _start_valkey(folder: Path) -> str:
    tree = _process_tree(folder)
    socket_path = folder / "valkey.sock"
    child = tree.start(
        "valkey",
        embedded_valkey.command(
            program=embedded_valkey.server_program(),
            socket_path=socket_path,
            data_dir=folder,
            durable=False,
            databases=_REDIS_DATABASES,
        ),
    )
    tree.wait_until(lambda: embedded_valkey.answers(socket_path), child=child, seconds=10)
    return f"unix://{socket_path}"


def _start_postgres(folder: Path, *, durable: bool) -> str:
    cluster = folder / "pg"
    cluster.mkdir(mode=0o700)
    return postgres.start(tree=_process_tree(folder), folder=cluster, durable=durable).url


def pytest_report_header() -> list[str]:
    if "PYTEST_XDIST_WORKER" in os.environ or _folder is None:
        return []
    engine = "SQLite" if os.environ["SLOTKEEPER_TEST_DB"] == "sqlite" else "PostgreSQL"
    return [f"servers: {engine}, Valkey, in {_folder}"]


def pytest_unconfigure() -> None:
    _stop_servers()


def _stop_servers() -> None:
    global _tree, _folder
    if _tree is not None:
        _tree.stop()
        _tree = None
    if _folder is not None:
        shutil.rmtree(_folder, ignore_errors=True)
        _folder = None
