# SPDX-License-Identifier: Apache-2.0
"""``posellava serve`` with an engine that is quick to load: what is found before it is loaded, TLS, logs, proxies."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend import serve
from backend.server import AccessError, check_options, tls_context
from benchmarks.engines import resident_mb
from blender_addon.contract.messages import Request, new_request_id
from blender_addon.session import Address, Connection
from tests.robustness.troubled_backend import TroubledEngine

REPOSITORY = Path(__file__).parents[2]
POSES = np.zeros((1, 24, 3), np.float32)
MAIN = """
import argparse, sys
from backend import serve
from tests.robustness.troubled_backend import TroubledEngine
parser = argparse.ArgumentParser()
serve.add_options(parser)
parser.set_defaults(batch_size=32)
sys.exit(serve.run(parser.parse_args(), TroubledEngine))
"""
openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_options(parser)
    parser.set_defaults(batch_size=32)
    return parser.parse_args(arguments)


@contextmanager
def served(*arguments: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The line that it prints, and its process, whose log is in stderr."""
    command = [sys.executable, "-c", MAIN, "--port", "0", *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSELLAVA_")}
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=kept | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            yield process.stdout.readline(), process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> str:
    """What it logged, after a SIGTERM."""
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    return said


def ask(line: str, **changes: Any) -> str:
    with Connection(Address.parse(line)) as connection:
        request = Request(new_request_id(), "adjust", "raise it", POSES, **changes)
        return connection.ask(request, timeout=30).texts[0]


def test_a_port_in_use_is_found_before_the_model_is_loaded() -> None:
    def load() -> Any:
        raise AssertionError("the model was loaded")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(OSError, match=f"port {port} is in use"):
            serve.run(options("--port", port), load, {})


def test_a_model_that_cannot_be_loaded_gives_the_port_back() -> None:
    def load() -> Any:
        raise ValueError("damaged")

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for _ in range(2):
        with pytest.raises(ValueError, match="damaged"):
            serve.run(options("--port", str(port)), load, {})


@pytest.mark.parametrize(
    ("host", "token", "words"),
    [
        ("127.0.0.1", "\udce9t\udce9", "no UTF-8"),
        ("127.0.0.1", "two words", "blanks"),
        ("127.0.0.1", "line\nbreak", "blanks"),
        ("127.0.0.1", "", "empty"),
        ("0.0.0.0", "short", "needs 16 characters and has 5"),
        ("0.0.0.0", None, "--no-token"),
    ],
)
def test_a_token_that_would_let_nobody_in_or_everybody_is_refused(
    host: str, token: str | None, words: str
) -> None:
    with pytest.raises(AccessError, match=words) as caught:
        check_options(host, token)
    str(caught.value).encode()
    assert token is None or len(token) < 3 or token not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no bytes in its environment")
def test_a_token_of_other_bytes_in_the_environment_is_refused_in_a_sentence() -> None:
    with served(POSELLAVA_TOKEN=b"t\xe9".decode("utf-8", "surrogateescape")) as (line, process):
        assert line == ""
        _, said = process.communicate(timeout=30)
    assert "no UTF-8" in said


@pytest.mark.slow
def test_an_unencrypted_backend_for_other_machines_warns() -> None:
    with served("--host", "0.0.0.0") as (line, process):
        assert ask(line.replace(socket.gethostname(), "127.0.0.1")) == "raise it"
        assert "without TLS" in ended(process)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of localhost that is its own authority, and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.mark.slow
@openssl
def test_it_speaks_tls_with_certificate_files(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    public, private = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    with served("--tls-cert", str(public), "--tls-key", str(private), "--host", "0.0.0.0") as (line, process):
        assert line.startswith("listening wss://")
        line = line.replace(socket.gethostname(), "localhost")
        assert ask(line) == "raise it"
        noise = np.random.default_rng(0).normal(size=(4000, 24, 3)).astype(np.float32)
        with Connection(Address.parse(line)) as connection:  # larger than what TLS buffers
            result = connection.ask(Request("r", "adjust", "raise it", noise), timeout=60)
        np.testing.assert_array_equal(
            np.stack([pose for pose in result.poses if pose is not None]), noise + 1
        )
        said = ended(process)
    assert "without TLS" not in said


@openssl
def test_certificates_that_cannot_be_used_are_named(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    public, private = certificate
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    for files in ((garbage, private), (public, None), (public, garbage), (tmp_path / "nowhere.pem", None)):
        with pytest.raises(AccessError, match="No TLS with"):
            tls_context(*files)
    tls_context(public, private)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["text", "json"])
def test_at_every_level_the_log_holds_neither_token_nor_words(form: str) -> None:
    token = "a-secret-of-the-studio"
    arguments = ("--log-level", "debug", "--log-format", form)
    with served(*arguments, POSELLAVA_TOKEN=token) as (line, process):
        assert ask(line) == "raise it"
        said = ended(process)
    assert token not in said
    assert "raise it" not in said
    lines = said.splitlines()
    if form == "json":
        access = [record for record in map(json.loads, lines) if record["logger"] == "posellava.access"]
        assert (access[0]["requests"], access[0]["answered"], access[0]["peer"]) == (1, 1, "127.0.0.1")
    else:
        assert any("posellava.access" in line and "requests=1" in line for line in lines)


def test_words_are_logged_when_that_is_asked_for_and_failures_with_their_trace() -> None:
    with served("--log-level", "info", "--log-format", "json", "--log-requests") as (line, process):
        assert ask(line) == "raise it"
        with Connection(Address.parse(line)) as connection, pytest.raises(ValueError, match="as asked"):
            connection.ask(Request("r", "adjust", "fail", POSES), timeout=30)
        records = [json.loads(line) for line in ended(process).splitlines()]
    assert [record["instruction"] for record in records if "instruction" in record] == ["raise it", "fail"]
    assert any("RuntimeError: as asked" in record.get("exception", "") for record in records)


CADDY = """
{{
    admin off
    auto_https off
}}
http://:{outer} {{
    reverse_proxy 127.0.0.1:{inner}
}}
"""
NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{outer};
        location / {{
            proxy_pass http://127.0.0.1:{inner};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_read_timeout 1h;
        }}
        location = /metrics {{ return 404; }}
    }}
}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("proxy", ["caddy", "nginx"])
def test_a_proxy_in_front_is_let_in_by_its_name(proxy: str, tmp_path: Path) -> None:
    if shutil.which(proxy) is None:
        pytest.skip(f"{proxy} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        outer = free.getsockname()[1]
    with served("--outer-host", "poses.example") as (line, process):
        inner = line.split()[1].rsplit(":", 1)[1]
        config = tmp_path / proxy
        config.write_text(
            (CADDY if proxy == "caddy" else NGINX).format(outer=outer, inner=inner, folder=tmp_path)
        )
        command = {
            "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)],
            "nginx": ["nginx", "-c", str(config), "-e", str(tmp_path / "first.log")],
        }[proxy]
        environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as front:
            try:
                _wait_for_port(outer)
                assert _status(outer, "poses.example") == 200
                assert _status(outer, "evil.example") == 403
                token = line.split("token=")[1].strip()
                assert _ask_through(outer, token) == "raise it"
            finally:
                front.terminate()
                front.wait(20)
        ended(process)


def _wait_for_port(port: int) -> None:
    import time

    for _ in range(200):
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the proxy did not start")


def _status(port: int, host: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/healthz", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=20) as page:
            return int(page.status)
    except urllib.error.HTTPError as error:
        return error.code


def _ask_through(port: int, token: str) -> str:
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    from blender_addon.contract.messages import Hello, Progress, Result, Welcome
    from blender_addon.contract.wire import SUBPROTOCOLS, Wire

    wire = Wire(SUBPROTOCOLS[0])
    with connect(
        f"ws://poses.example:{port}", subprotocols=[Subprotocol(SUBPROTOCOLS[0])], proxy=None,
        sock=socket.create_connection(("127.0.0.1", port)),
    ) as websocket:  # fmt: skip
        for frame in wire.write(Hello(token, wire.version)):
            websocket.send(frame)
        assert isinstance(wire.read(websocket.recv(timeout=20)), Welcome)
        for frame in wire.write(Request("r", "adjust", "raise it", POSES)):
            websocket.send(frame)
        while True:
            message = wire.read(websocket.recv(timeout=20))
            if isinstance(message, Result):
                return message.texts[0]
            assert message is None or isinstance(message, Progress)


def test_the_server_needs_neither_torch_nor_transformers() -> None:
    script = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "import backend.server, backend.serve, backend.batch\n"
        "assert 'onnxruntime' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_troubled_engine_is_an_engine() -> None:
    assert TroubledEngine().tasks


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_an_idle_server_holds_little_memory() -> None:
    poses = np.zeros((250, 24, 3), np.float32)
    command = [sys.executable, "-m", "backend.cli", "serve", "--port", "0", "--engine", "onnx"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            with Connection(Address.parse(serving.stdout.readline())) as connection:
                connection.ask(Request("r", "adjust", "bend the knees", poses), timeout=300)
                deadline = time.monotonic() + 60
                while (held := resident_mb(serving.pid)) > 200:
                    assert time.monotonic() < deadline, f"{held} MB"
                    time.sleep(0.5)
        finally:
            serving.terminate()
