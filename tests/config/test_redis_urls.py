import os
import socket

import pytest

from config import env, redis_urls


@pytest.mark.parametrize(
    ("url", "broker", "cache"),
    [
        ("redis://h:6379", "redis://h:6379/0", "redis://h:6379/1"),
        ("redis://:pw@h:6379/4", "redis://:pw@h:6379/4", "redis://:pw@h:6379/5"),
        (
            "rediss://h/0?ssl_cert_reqs=none",
            "rediss://h/0?ssl_cert_reqs=none",
            "rediss://h/1?ssl_cert_reqs=none",
        ),
        ("valkey://h/2", "redis://h/2", "redis://h/3"),
        ("unix:///run/v.sock", "redis+socket:///run/v.sock?virtual_host=0", "unix:///run/v.sock?db=1"),
        ("redis://h/?db=3", "redis://h/3", "redis://h/4"),
        (
            "rediss://h",
            "rediss://h/0?ssl_cert_reqs=required",
            "rediss://h/1?ssl_cert_reqs=required",
        ),
        (
            "valkeys://h/0?ssl_cert_reqs=CERT_NONE",
            "rediss://h/0?ssl_cert_reqs=none",
            "rediss://h/1?ssl_cert_reqs=none",
        ),
        (
            "unix://:pw@/run/v.sock",
            "redis+socket://:pw@/run/v.sock?virtual_host=0",
            "unix://:pw@/run/v.sock?db=1",
        ),
        ("unix:///run/v.sock?db=6", "redis+socket:///run/v.sock?virtual_host=6", "unix:///run/v.sock?db=7"),
    ],
)
def test_broker_and_cache_get_databases_of_their_own(url, broker, cache):
    assert redis_urls.split(url) == redis_urls.RedisUrls(broker=broker, cache=cache)


@pytest.mark.parametrize("name", ["REDIS_URL", "CACHE_URL"])
@pytest.mark.parametrize(
    "rest",
    ["h/x", "h/0/1", "h/-1", "h/0?ssl_cert_reqs=perhaps", "h/0?nonsense=1", "h/0?socket_timeout=soon"],
)
def test_a_url_that_no_driver_could_use_stops_start_up_and_is_not_repeated(monkeypatch, name, rest):
    monkeypatch.setenv(name, f"rediss://:hunter2@{rest}")
    with pytest.raises(env.WrongSetting, match=name) as refused:
        redis_urls.setting(name)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", ["unix://run/v.sock", "unix://", "redis://h/0?socket_timeout=5"])
def test_what_only_the_cache_could_use_stops_start_up_too(monkeypatch, url):
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(env.WrongSetting, match="REDIS_URL"):
        redis_urls.setting("REDIS_URL")


@pytest.mark.parametrize(
    ("url", "understood"),
    [
        ("valkey://h/3", "redis://h/3"),
        ("redis://h/0?socket_timeout=5", "redis://h/0?socket_timeout=5"),
        ("unix:///run/v.sock", "unix:///run/v.sock?db=0"),
    ],
)
def test_a_cache_of_its_own_is_named_in_the_words_of_its_driver(monkeypatch, url, understood):
    monkeypatch.setenv("CACHE_URL", url)
    assert redis_urls.cache_alone(redis_urls.setting("CACHE_URL")) == understood


def test_a_long_folder_gets_a_socket_path_that_fits_and_is_its_own(tmp_path):
    long = tmp_path / ("x" * 100)
    assert redis_urls.embedded_socket(tmp_path / "var") == tmp_path / "var" / "valkey" / "valkey.sock"
    assert len(os.fsencode(redis_urls.embedded_socket(long))) <= 100
    assert redis_urls.embedded_socket(long) != redis_urls.embedded_socket(long / "y")


@pytest.fixture
def listening(tmp_path):
    path = redis_urls.embedded_socket(tmp_path)
    path.parent.mkdir(mode=0o700, parents=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield path


def test_a_running_embedded_server_is_found_by_its_socket(tmp_path, listening):
    assert redis_urls.running_embedded_server(tmp_path) == f"unix://{listening}"


def test_a_socket_that_others_could_have_put_there_is_not_believed(tmp_path, listening):
    listening.parent.chmod(0o755)
    assert redis_urls.running_embedded_server(tmp_path) == ""


def test_a_socket_left_behind_by_a_dead_server_is_not_believed(tmp_path):
    path = redis_urls.embedded_socket(tmp_path)
    path.parent.mkdir(mode=0o700, parents=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    assert path.exists()
    assert redis_urls.running_embedded_server(tmp_path) == ""
    assert redis_urls.running_embedded_server(tmp_path / "elsewhere") == ""
