"""Keys made once for the embedded set-up, so that the first start needs no environment at all.

They lie in VAR_DIR beside the embedded database they protect, readable by their owner only. A production
deployment brings its own: the deployment checks tell a generated key by its prefix, also when it was copied.
"""

import base64
import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from config.env import WrongSetting

GENERATED_PREFIX = "generated-for-development-"


def make_secret_key() -> str:
    return GENERATED_PREFIX + secrets.token_urlsafe(48)


def make_field_encryption_key() -> str:
    """A Fernet key: 32 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode("ascii")


def read_or_make(path: Path, *, make: Callable[[], str]) -> str:
    """The secret in `path`; made and stored (mode 0600) when the file is not there yet. Raises WrongSetting
    where VAR_DIR cannot be used.

    Web workers, Celery and commands start at the same moment. Linking a finished temporary file into place
    fails for all but the first, so every process reads the same secret and never half of one.
    """
    try:
        return _read_or_make(path, make=make)
    except OSError as error:
        raise WrongSetting(f"VAR_DIR: {path} can be neither read nor made ({error.strerror}).") from None


def _read_or_make(path: Path, *, make: Callable[[], str]) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8").strip()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
    return path.read_text(encoding="utf-8").strip()
