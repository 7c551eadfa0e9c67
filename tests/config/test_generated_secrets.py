from concurrent.futures import ThreadPoolExecutor

from cryptography.fernet import Fernet

from config import generated_secrets


def test_a_secret_is_made_once_and_readable_by_its_owner_only(tmp_path):
    path = tmp_path / "var" / "secret_key"
    first = generated_secrets.read_or_make(path, make=generated_secrets.make_secret_key)
    assert len(first) > len(generated_secrets.GENERATED_PREFIX) + 32
    assert generated_secrets.read_or_make(path, make=generated_secrets.make_secret_key) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["secret_key"]


def test_processes_that_start_at_the_same_moment_read_the_same_secret(tmp_path):
    path = tmp_path / "secret_key"
    with ThreadPoolExecutor(max_workers=16) as threads:
        read = list(
            threads.map(
                lambda _: generated_secrets.read_or_make(path, make=generated_secrets.make_secret_key),
                range(64),
            )
        )
    assert len(set(read)) == 1


def test_a_generated_field_key_encrypts_and_a_generated_secret_key_can_be_told():
    Fernet(generated_secrets.make_field_encryption_key()).encrypt(b"works")
    assert generated_secrets.make_secret_key().startswith(generated_secrets.GENERATED_PREFIX)
