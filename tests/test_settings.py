"""The settings: environment variables, options that override them, and messages for mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import StartupError
from service.settings import EMBEDDED_MODELS, Settings


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv("EVERTHREAD_" + name.upper(), raising=False)


def test_defaults() -> None:
    settings = Settings.load()
    assert (settings.host, settings.port, settings.beta) == ("127.0.0.1", 8000, "strict")
    assert (settings.max_runs, settings.run_expires_s) == (64, 600)
    assert settings.database_url is None
    assert settings.model_base_url is None
    assert settings.api_key is None


def test_the_environment_is_read_and_an_option_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERTHREAD_PORT", "9000")
    monkeypatch.setenv("EVERTHREAD_HOST", "0.0.0.0")
    monkeypatch.setenv("EVERTHREAD_MODEL_BASE_URL", "http://localhost:1234/v1/")
    monkeypatch.setenv("EVERTHREAD_BETA", "")
    settings = Settings.load(port=9001, host=None)
    assert (settings.port, settings.host) == (9001, "0.0.0.0")
    assert settings.model_base_url == "http://localhost:1234/v1"
    assert settings.beta == "strict", "an empty variable is as good as none"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "many"),
        ("PORT", "70000"),
        ("MAX_RUNS", "0"),
        ("RUN_EXPIRES_S", "-1"),
        ("BETA", "loose"),
        ("MODEL_BASE_URL", "localhost:1234"),
        ("DATABASE_URL", "mysql://root:hunter2@db/x"),
        ("API_KEY", "hunter2 with spaces"),
        ("MODELS", "/no/such/file.toml"),
        ("LOG_PUSH", "/vault,ftp://hunter2@host/"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"EVERTHREAD_{name}", value)
    with pytest.raises(StartupError) as caught:
        Settings.load()
    message = str(caught.value)
    assert message.startswith(f"EVERTHREAD_{name}: ")
    assert "\n" not in message
    assert "hunter2" not in message


def test_a_wrong_option_is_named_as_it_was_given() -> None:
    with pytest.raises(StartupError, match=r"^--run-expires-s: "):
        Settings.load(run_expires_s=0)


def test_no_secret_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERTHREAD_API_KEY", "hunter2-api")
    monkeypatch.setenv("EVERTHREAD_MODEL_API_KEY", "hunter2-model")
    monkeypatch.setenv("EVERTHREAD_DATABASE_URL", "postgresql://u:hunter2-db@h/d")
    settings = Settings.load(data_dir=tmp_path)
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "hunter2" not in shown
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "hunter2-api"


def test_an_embedding_server_needs_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERTHREAD_EMBEDDING_BASE_URL", "http://localhost:1234/v1/")
    with pytest.raises(StartupError, match=r"^EVERTHREAD_EMBEDDING_BASE_URL needs EVERTHREAD_EMBEDDING_MODEL$"):
        Settings.load()
    monkeypatch.setenv("EVERTHREAD_EMBEDDING_MODEL", "small")
    assert Settings.load().embedding_base_url == "http://localhost:1234/v1"


def test_the_log_has_one_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERTHREAD_LOG_KEY", "hunter2")
    monkeypatch.setenv("EVERTHREAD_LOG_SIGN_COMMAND", "sign --token hunter2")
    with pytest.raises(StartupError, match="only one of EVERTHREAD_LOG_KEY, EVERTHREAD_LOG_KEY_FILE and ") as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)
    monkeypatch.delenv("EVERTHREAD_LOG_KEY")
    assert Settings.load().describe_changes() == {"log_sign_command": "set"}


def test_an_embedded_embedding_model_needs_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EMBEDDED_MODELS:
        monkeypatch.setenv("EVERTHREAD_EMBEDDING_MODEL", name)
        assert Settings.load().embedding_model == name
    monkeypatch.setenv("EVERTHREAD_EMBEDDING_MODEL", "multilingual-e5")
    with pytest.raises(
        StartupError, match=r"^EVERTHREAD_EMBEDDING_MODEL must be multilingual, or a model of EVERTHREAD"
    ):
        Settings.load()
