import os
import socket

import pytest

from config import redis_urls


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
        ("unix:///run/v.sock?db=6", "redis+socket:///run/v.sock?virtual_host=6", "unix:///run/v.sock?db=7"),
    ],
)
def test_broker_and_cache_get_databases_of_their_own(url, broker, cache):
    assert redis_urls.split(url) == redis_urls.RedisUrls(broker=broker, cache=cache)


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
