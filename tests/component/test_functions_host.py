"""The local Functions host: how an app comes up in it, who may call what over HTTP, what it logs, and how it stops."""

from __future__ import annotations

import ipaddress
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest

from local import guard
from local.stack import StartFailed
from tests.component.functions_host import Host, eventually, host, hosting

__all__ = ["host"]


def test_request_reaches_function_whole(host: Host) -> None:
    answer = host.call("POST", "/sample/echo/-7/a%20b/c%2Fd?x=1&x=2&empty=", b"\x00\xff\x10", X_Word="b", X_Empty="")
    assert answer.status == 201
    seen = answer.json
    assert seen["method"] == "POST"
    assert seen["url"] == f"http://127.0.0.1:{host.port}/sample/echo/-7/a%20b/c%2Fd?x=1&x=2&empty="
    assert seen["route"] == {"kind": "-7", "rest": "a b/c%2Fd"}
    assert seen["query"] == {"x": "1,2"}
    assert seen["headers"]["x-word"] == "b"
    assert "x-empty" not in seen["headers"]
    assert seen["body"] == "00ff10"


def test_response_keeps_status_headers_and_cookies(host: Host) -> None:
    answer = host.call("GET", "/sample/echo/1/")
    assert answer.status == 201
    assert answer.headers["X-Answer"] == "42"
    assert answer.headers["Content-Type"] == "application/json"
    crumb, loaf = (cookie.split("; ") for cookie in answer.headers.get_all("Set-Cookie"))
    assert crumb[0] == "crumb=1"
    assert sorted(crumb[1:]) == ["HttpOnly", "Max-Age=60", "Path=/sample", "SameSite=Lax"]
    assert loaf[0] == "loaf=2"
    assert {"Domain=example.com", "Secure"} < set(loaf)
    assert any(part.lower().startswith("expires=") for part in loaf), loaf


def test_bodies_are_binary_both_ways(host: Host) -> None:
    body = bytes(range(256)) * 4096
    answer = host.call("POST", "/sample/binary", body, key="default")
    assert answer.body == body[::-1]
    assert answer.headers["Content-Type"] == "application/octet-stream"


def test_most_specific_route_wins(host: Host) -> None:
    assert host.call("GET", "/sample/echo/word").json == {"word": "word"}
    assert host.call("GET", "/sample/echo/12").status == 201
    assert host.call("GET", "/SAMPLE/Echo/word").json == {"word": "word"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/sample/nothing"),
        ("GET", "/api/echo/1/x"),
        ("DELETE", "/sample/echo/1/x"),
        ("HEAD", "/sample/echo/word"),
        ("OPTIONS", "/sample/echo/word"),
        ("GET", "/runtime"),
    ],
)
def test_no_such_route_or_method_is_404(host: Host, method: str, path: str) -> None:
    answer = host.call(method, path)
    assert (answer.status, answer.body) == (404, b"")


def test_head_is_a_method_like_others(host: Host) -> None:
    answer = host.call("HEAD", "/sample/binary", key="default")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/sample/echo/word", None, 200),
        ("/sample/binary", None, 401),
        ("/sample/binary", "default", 200),
        ("/sample/binary", "_master", 200),
        ("/sample/binary", "eventgrid_extension", 401),
        ("/sample/locked", None, 401),
        ("/sample/locked", "default", 401),
        ("/sample/locked", "_master", 204),
    ],
)
def test_access_levels(host: Host, path: str, key: str | None, status: int) -> None:
    method = "HEAD" if path.endswith("binary") else "GET"
    in_header = host.call(method, path, key=key)
    in_query = host.call(method, f"{path}?code={host.keys[key] if key else ''}")
    assert in_header.status == in_query.status == status
    if status == 401:
        assert in_header.body == b""


def test_wrong_key_is_401_even_when_it_is_not_text(host: Host) -> None:
    assert host.call("GET", "/sample/locked?code=%ff%fe").status == 401
    assert host.call("GET", "/sample/locked", x_functions_key="schlüssel").status == 401


def test_unhandled_error_is_500_with_nothing_of_it_in_the_body(host: Host) -> None:
    answer = host.call("GET", "/sample/broken")
    assert (answer.status, answer.body) == (500, b"")
    assert "RuntimeError: broken on purpose" in host.log()


def test_requests_run_at_the_same_time(host: Host) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: host.call("GET", "/sample/slow"), range(20)))
    assert {answer.body for answer in answers} == {b"done"}
    assert time.monotonic() - started < 5, "ten seconds one after the other"


def test_each_invocation_is_logged_without_its_body(host: Host) -> None:
    secret = "a-body-that-nobody-may-log"
    host.call("POST", "/sample/binary", secret.encode(), key="default")
    log = host.log()
    assert "Executing 'Functions.binary' (Reason='This function was programmatically called via the host APIs.'" in log
    assert "Executed 'Functions.binary' (Succeeded, Id=" in log
    assert secret not in log
    assert not [name for name, key in host.keys.items() if key in log]


def test_ready_needs_the_control_key(host: Host) -> None:
    control_key = host.stack.topology.control_key
    assert host.call("GET", "/.control/ready").status == 401
    ready = host.call("GET", "/.control/ready", x_control_key=control_key).json
    assert (ready["part"], ready["engine"].partition(":")[0]) == ("host", "127.0.0.1")
    unknown = host.call("GET", "/.control/other", x_control_key=control_key)
    assert (unknown.status, unknown.json) == (404, {"error": "host has no control GET other"})


def test_nothing_listens_beyond_loopback(host: Host) -> None:
    assert len(_listening(host)) == 2  # HTTP, and gRPC for the app
    assert {address for address, _ in _listening(host)} == {"127.0.0.1"}
    assert host.port in {port for _, port in _listening(host)}


def _listening(host: Host) -> set[tuple[str, int]]:
    """Addresses and ports that the host and its guard listen on, from /proc."""
    leader = host.stack.processes["host"].pid
    processes = [int(f.parent.name) for f in Path("/proc").glob("[0-9]*/stat") if _session(f) == leader]
    inodes = {
        link.readlink().name.removeprefix("socket:[").removesuffix("]")
        for process in processes
        for link in Path(f"/proc/{process}/fd").iterdir()
        if link.is_symlink()
    }
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state, inode = (line.split()[n] for n in (1, 3, 9))
            if state == "0A" and inode in inodes:
                address, port = local.split(":")
                found.add((_address(address), int(port, 16)))
    return found


def _address(text: str) -> str:
    """The address that /proc writes as hexadecimal words of 32 bits in the machine's byte order."""
    packed = b"".join(struct.pack("=I", int(text[n : n + 8], 16)) for n in range(0, len(text), 8))
    address = ipaddress.ip_address(packed)
    return str(getattr(address, "ipv4_mapped", None) or address)


def _session(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[3])
    except OSError:
        return 0


def _app(folder: Path, code: str, host_json: str = '{"version": "2.0"}') -> Path:
    folder.mkdir()
    (folder / "host.json").write_text(host_json)
    if code:
        (folder / "function_app.py").write_text("import azure.functions as func\n" + dedent(code))
    return folder


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("app = func.FunctionApp()\nraise KeyError('MISSING_SETTING')", "KeyError: 'MISSING_SETTING'"),
        ("", "cannot be indexed: function_app.py is missing."),
        ("app = func.FunctionApp()", "cannot be indexed: function_app.py declares no function."),
        ("pass", "Could not find top level function app instances in function_app.py"),
        (
            """
            app = func.FunctionApp()

            @app.queue_trigger(arg_name="message", queue_name="q", connection="c")
            def on_message(message: func.QueueMessage) -> None: ...
            """,
            "The function 'on_message' has a binding of type 'queueTrigger'; this host serves httpTrigger,",
        ),
        (
            """
            app = func.FunctionApp()

            @app.timer_trigger(schedule="every day", arg_name="timer")
            def daily(timer: func.TimerRequest) -> None: ...
            """,
            "The function 'daily' cannot be served: the schedule 'every day' has 2 fields, expected six",
        ),
        (
            """
            app = func.FunctionApp()

            @app.timer_trigger(schedule="%NOT_SET%", arg_name="timer")
            def daily(timer: func.TimerRequest) -> None: ...
            """,
            "the schedule '%NOT_SET%' names the app setting NOT_SET, which is not set.",
        ),
        (
            """
            app = func.FunctionApp()

            @app.route(route="a/{x:length(3)}")
            def short(req: func.HttpRequest) -> str: ...
            """,
            "The function 'short' cannot be served: the route 'api/a/{x:length(3)}' has the constraint 'length(3)'",
        ),
    ],
)
def test_app_that_cannot_be_served_is_told_why(tmp_path: Path, code: str, message: str) -> None:
    with (
        pytest.raises(StartFailed, match="host ended while starting") as failure,
        hosting(tmp_path / "stack", _app(tmp_path / "app", code)),
    ):
        pytest.fail("the host came up")
    assert message in str(failure.value)


def test_error_of_the_app_is_shown_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(StartFailed) as failure, hosting(tmp_path / "stack", _app(tmp_path / "app", "x = 1 / 0")):
        pytest.fail("the host came up")
    assert f'File "{tmp_path}/app/function_app.py", line 2' in str(failure.value)
    assert "ZeroDivisionError: division by zero" in str(failure.value)


@pytest.mark.parametrize(
    ("host_json", "message"),
    [
        ("{", "is not a valid host.json: Input data was truncated"),
        (
            '{"extensions": {"http": {"routePrefix": 1}}}',
            "Expected `str`, got `int` - at `$.extensions.http.routePrefix`",
        ),
        (
            '{"extensions": {"durableTask": {"maxConcurrentActivityFunctions": 0}}}',
            "maxConcurrentActivityFunctions is 0, expected 1 or more",
        ),
    ],
)
def test_bad_host_json_is_told(tmp_path: Path, host_json: str, message: str) -> None:
    app = _app(tmp_path / "app", "app = func.FunctionApp()", host_json)
    with pytest.raises(StartFailed) as failure, hosting(tmp_path / "stack", app):
        pytest.fail("the host came up")
    assert message in str(failure.value)


def test_stops_quickly_whatever_the_app_is_doing(tmp_path: Path) -> None:
    app = _app(
        tmp_path / "app",
        """
        import atexit, pathlib, time

        app = func.FunctionApp()
        atexit.register(pathlib.Path("closed").touch)

        @app.route(route="stuck/{how}", auth_level=func.AuthLevel.ANONYMOUS)
        def stuck(req: func.HttpRequest) -> str:
            if req.route_params["how"] == "long":
                time.sleep(60)
            return "done"
        """,
    )
    with hosting(tmp_path / "idle", app) as running:
        assert running.call("GET", "/api/stuck/short").body == b"done"
        started = time.monotonic()
    assert time.monotonic() - started < guard.GRACE_SECONDS, "nobody had to kill it"
    assert (app / "closed").exists(), "an idle host lets the app clean up"
    with hosting(tmp_path / "busy", app) as running, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(running.call, "GET", "/api/stuck/long")
        eventually(running.log, lambda log: "Executing 'Functions.stuck'" in log)
        started = time.monotonic()
        running.stack.processes["host"].terminate()
        running.stack.processes["host"].wait(timeout=10)
        assert time.monotonic() - started < 3
        with pytest.raises(ConnectionError):
            waiting.result()
