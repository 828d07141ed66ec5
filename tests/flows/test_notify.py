"""People are told by Prefect's blocks, over a real server, a real webhook and real SMTP; a failure costs a line."""

from __future__ import annotations

import email
import email.policy
import http.server
import json
import logging
import socketserver
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.notify import Mail, blocks_of, missing, notify
from flows.settings import Settings
from medai.errors import ConfigurationError

SIGN = "s1gn-of-the-ward"


class Post(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as one message takes."""

    def handle(self) -> None:
        """Take messages and keep them with the server."""
        server: Any = self.server
        self.wfile.write(b"220 ward\r\n")
        while line := self.rfile.readline():
            word = line.strip().upper()[:4]
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                content = b"".join(iter(self.rfile.readline, b".\r\n"))
                server.mail.append(email.message_from_bytes(content, policy=email.policy.default))
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


@pytest.fixture(autouse=True)
def _server(environment: dict[str, str]) -> Iterator[None]:
    """The session's Prefect server for this process, too."""
    with temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"]}):
        yield


@pytest.fixture
def post() -> Iterator[tuple[str, list[EmailMessage]]]:
    """A mail server on loopback: host and port, and the mail it took."""
    mail: list[EmailMessage] = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Post) as server:
        server.mail = mail  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", mail
        server.shutdown()


@pytest.fixture
def hook() -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]], dict[str, int]]]:
    """A webhook on loopback: its address, what it was sent, and the status that it answers."""
    sent: list[tuple[str, dict[str, Any]]] = []
    answer = {"status": 200}

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(answer["status"])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", sent, answer
        server.shutdown()


def keep_webhook(name: str, address: str) -> str:
    """A webhook block with a secret in its address, kept by the server."""
    block = CustomWebhookNotificationBlock(
        name=name,
        url=address + "/{{token}}",
        secrets={"token": SIGN},  # type: ignore[arg-type]
        json_data={"title": "{{subject}}", "text": "{{body}}"},
        timeout=30,
    )
    block.save(name, overwrite=True)
    return f"custom-webhook/{name}"


def test_a_webhook_and_a_mailbox_are_told(hook: Any, post: Any) -> None:
    """Each block once, with the subject and the whole text."""
    address, sent, _ = hook
    webhook = keep_webhook("told", address)
    host, mail = post
    Mail(url=f"mailto://{host}?from=medai@ward.example&to=night@ward.example&format=text").save("told", overwrite=True)
    told = notify([webhook, "medai-mail/told"], "medai: sepsis: version 3 is champion", "champion: version 3\n- why")
    assert told == {"custom-webhook/told": True, "medai-mail/told": True}
    assert sent == [
        (f"/{SIGN}", {"title": "medai: sepsis: version 3 is champion", "text": "champion: version 3\n- why"})
    ]
    (letter,) = mail
    assert letter["Subject"] == "medai: sepsis: version 3 is champion"
    assert "night@ward.example" in letter["To"]
    body = letter.get_body(("plain",))
    assert body is not None
    assert body.get_content().splitlines()[:2] == ["champion: version 3", "- why"]


def test_a_notification_that_fails_is_a_line_without_its_secret(
    hook: Any, post: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A webhook that answers 500, one that is down, a mail server that is gone, an unknown block: the rest is told."""
    address, sent, answer = hook
    names = [keep_webhook("broken", address), keep_webhook("down", "http://127.0.0.1:9"), "custom-webhook/unknown"]
    Mail(url=f"mailto://127.0.0.1:9?from=a@ward.example&to=b@ward.example&pass={SIGN}&user=a").save(
        "gone", overwrite=True
    )
    names.append("medai-mail/gone")
    answer["status"] = 500
    with caplog.at_level(logging.WARNING):
        told = notify(names, "subject", "body")
    assert told == dict.fromkeys(names, False)
    assert len(sent) == 1
    ours = [record.getMessage() for record in caplog.records if record.name == "medai.notify"]
    assert ours == [
        "custom-webhook/broken was not notified (HTTPStatusError)",
        "custom-webhook/down was not notified (ConnectError)",
        "custom-webhook/unknown was not notified: Prefect's server has no notification block of this name",
        "medai-mail/gone was not notified (NotificationError)",
    ]
    assert SIGN not in caplog.text


def test_no_server_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Where Prefect's server is down nobody can be told, and nothing else happens."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert notify(["slack-webhook/ward"], "subject", "body") == {"slack-webhook/ward": False}
    assert "slack-webhook/ward was not notified (ConnectError)" in caplog.text


def test_a_block_that_notifies_nobody_is_missing(hook: Any) -> None:
    """Only a block of a kind that notifies counts as a recipient."""
    webhook = keep_webhook("there", hook[0])
    Secret(value=SIGN).save("ward", overwrite=True)  # type: ignore[arg-type]
    assert missing([webhook, "secret/ward", "slack-webhook/nobody"]) == ["secret/ward", "slack-webhook/nobody"]


def test_a_list_of_recipients_holds_names_of_blocks(monkeypatch: pytest.MonkeyPatch, refusal: Any) -> None:
    """TYPE/NAME with commas, each once; an address is refused and not repeated, from a person or from MEDAI_NOTIFY."""
    assert blocks_of(" slack-webhook/ward,medai-mail/night , slack-webhook/ward,") == (
        "slack-webhook/ward",
        "medai-mail/night",
    )
    assert blocks_of("") == ()
    address = "https://hooks.ward.example/services/T0/B0"
    with pytest.raises(ConfigurationError) as error:
        blocks_of(address)
    assert "hooks" not in refusal(error.value)
    monkeypatch.setenv("MEDAI_NOTIFY", address)
    with pytest.raises(ConfigurationError, match="MEDAI_NOTIFY cannot be used") as error:
        Settings.load()
    assert "hooks" not in refusal(error.value)
    monkeypatch.setenv("MEDAI_NOTIFY", "slack-webhook/ward, medai-mail/night")
    settings = Settings.load()
    assert settings.notify == "slack-webhook/ward,medai-mail/night"
    assert settings.environment()["MEDAI_NOTIFY"] == settings.notify
