"""The demo salon of `./dev up`: its keys, its company file for `provision`, and an admin to log in with.

Everything is made once and kept in VAR_DIR, readable by its owner only, so that the second start is the same
salon with the same webhook address and the same password.
"""

import json
import os
import secrets
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User

from booking.calcom.subscriptions import TRIGGERS

ADMIN = "admin"
SLUG = "demo-salon"
CALLED_NUMBER = "+493012345678"
AGENT_ID = "agent_demo"
TIME_ZONE = "Europe/Berlin"
OPENING_HOURS = "Mon-Fri 09:00-18:00; Sat 09:00-14:00"


@dataclass(frozen=True)
class DemoKeys:
    endpoint_id: str
    calcom_api_key: str
    calcom_webhook_secret: str
    retell_api_key: str
    admin_password: str


@dataclass(frozen=True)
class DemoService:
    slug: str
    name: str
    aliases: tuple[str, ...]
    duration_minutes: int
    calcom_event_type_id: int


SERVICES = (
    DemoService("haircut", "Haarschnitt", ("Herrenhaarschnitt", "Damenhaarschnitt"), 30, 101),
    DemoService("colour", "Färben", ("Haare färben", "Tönung"), 60, 102),
    DemoService("beard", "Bartpflege", ("Bart", "Bartschnitt"), 15, 103),
)


def _write_private(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
    temporary.replace(path)


def keys(var_dir: Path) -> DemoKeys:
    """The demo's keys, made at the first call."""
    path = var_dir / "demo" / "keys.json"
    if path.is_file():
        return DemoKeys(**json.loads(path.read_text(encoding="utf-8")))
    made = DemoKeys(
        endpoint_id=str(uuid.uuid4()),
        calcom_api_key=f"cal_demo_{secrets.token_hex(16)}",
        calcom_webhook_secret=secrets.token_hex(32),
        retell_api_key=f"key_demo_{secrets.token_hex(16)}",
        admin_password=secrets.token_urlsafe(12),
    )
    _write_private(path, asdict(made))
    return made


def write_world_file(*, var_dir: Path, demo_keys: DemoKeys, webhook_url: str) -> Path:
    """Write what `calcom_simulator --world` starts with, and return its path.

    A file and not the command line: whoever lists processes would read the key there.
    """
    path = var_dir / "demo" / "calcom-world.json"
    account = {
        "name": SLUG,
        "api_key": demo_keys.calcom_api_key,
        "owner": "ann",
        "time_zone": TIME_ZONE,
        "event_types": [
            {
                "key": service.slug,
                "event_type_id": service.calcom_event_type_id,
                "title": service.name,
                "minutes": service.duration_minutes,
                "available": OPENING_HOURS,
            }
            for service in SERVICES
        ],
        "webhooks": [
            {
                "url": webhook_url,
                "secret": demo_keys.calcom_webhook_secret,
                "triggers": list(TRIGGERS),
            }
        ],
    }
    _write_private(path, {"accounts": [account]})
    return path


def write_company_file(*, var_dir: Path, demo_keys: DemoKeys, calcom_base_url: str) -> Path:
    """Write the file that `provision` reads, and return its path."""
    path = var_dir / "demo" / "company.json"
    company = {
        "slug": SLUG,
        "name": "Salon Mitte (Demo)",
        "timezone": TIME_ZONE,
        "language": "de",
        "endpoint_id": demo_keys.endpoint_id,
        "attendee_email_domain": "anrufer.demo-salon.example",
        "calcom": {
            "base_url": calcom_base_url,
            "api_key": demo_keys.calcom_api_key,
            "webhook_secret": demo_keys.calcom_webhook_secret,
        },
        "retell": {"api_key": demo_keys.retell_api_key},
        "branches": [
            {
                "slug": "mitte",
                "name": "Mitte",
                "phone_numbers": [CALLED_NUMBER],
                "retell_agent_ids": [AGENT_ID],
            }
        ],
        "services": [{**asdict(service), "aliases": list(service.aliases)} for service in SERVICES],
    }
    _write_private(path, {"companies": [company]})
    return path


def ensure_admin(*, password: str) -> bool:
    """Make the superuser `admin` when there is none. False when its password is no longer `password`."""
    user = User.objects.filter(username=ADMIN).first()
    if user is None:
        User.objects.create_superuser(username=ADMIN, email="", password=password)
        return True
    return bool(user.check_password(password))
