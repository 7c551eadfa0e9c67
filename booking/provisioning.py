"""Make companies from a file, so that an agency keeps its tenants in version control.

What the file says is made true; what it does not mention is left alone, and nothing is ever deleted. Running
it twice changes nothing the second time. A key that means nothing is ignored and said so: whoever misspells
one believes that it is done. So is what goes on working here without standing in the file: whoever renames a
slug has two. And what stands in it and does not work, for it is switched off here.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection, models, transaction

from booking import event_types
from booking.models import Service
from calls.retell.payloads import read_identifier
from customers import phone_numbers
from customers.company_secrets import without_secrets
from customers.encrypted_field import CannotDecrypt
from customers.json_values import storable
from customers.models import Branch, Company, PhoneNumber, RetellAgent
from customers.partial_save import save_only

M = TypeVar("M", bound=models.Model)

COMPANY_FIELDS: dict[str, type] = {
    "name": str,
    "timezone": str,
    "language": str,
    "attendee_email_domain": str,
    "heal_adopt": str,
    "heal_import": str,
    "heal_follow": str,
    "heal_link": str,
    "heal_daily_limit": int,
    "may_reschedule": bool,
    "may_cancel": bool,
    "change_notice_minutes": int,
    "callback_within_minutes": int,
}
COMPANY_KEYS = (
    *COMPANY_FIELDS,
    "slug",
    "endpoint_id",
    "opening_hours",
    "calcom",
    "retell",
    "branches",
    "services",
)
CALCOM_SECRETS = ("api_key", "webhook_secret", "webhook_secret_previous", "reconcile_api_key")
RETELL_SECRETS = ("api_key", "api_key_previous")
BRANCH_FIELDS: dict[str, type] = {"name": str, "timezone": str}
BRANCH_KEYS = (*BRANCH_FIELDS, "slug", "phone_numbers", "retell_agent_ids")
SERVICE_FIELDS: dict[str, type] = {
    "name": str,
    "aliases": list,
    "person": str,
    "spoken_name": str,
    "price_text": str,
    "may_reschedule": bool,
    "may_cancel": bool,
    "change_notice_minutes": int,
}
SERVICE_KEYS = (*SERVICE_FIELDS, "slug", "duration_minutes", "calcom_event_type_id", "active", "branch")
# Where null is a value: in every branch, and as the company has it.
SERVICE_NULLS = ("branch", "may_reschedule", "may_cancel", "change_notice_minutes")
THE_FILE = "the file"
ONE_AT_A_TIME = 0x736C6F74  # any number that no other advisory lock of this database has
KINDS: dict[type, str] = {
    str: "a text", int: "a whole number", bool: "true or false", list: "a list",
}  # fmt: skip


class InvalidFile(Exception):
    """The file cannot be used; the message names the place. Nothing was changed."""


@dataclass
class Changes:
    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: int = 0
    ignored: list[str] = field(default_factory=list)
    not_in_file: list[str] = field(default_factory=list)
    switched_off: list[str] = field(default_factory=list)
    # Each row, and the place in the file that described it first.
    described: dict[tuple[str, int], str] = field(default_factory=dict)
    # Each row that was updated, and in what.
    columns: dict[tuple[str, int], list[str]] = field(default_factory=dict)

    def described_rows(self, model: type[models.Model]) -> list[int]:
        return [key for kind, key in self.described if kind == model._meta.model_name]  # noqa: SLF001


def provision(content: Any, *, only: str | None = None) -> tuple[list[Company], Changes]:
    """Make the companies of a parsed file, all of them or none. Raises InvalidFile."""
    changes = Changes()
    companies = _list(_object(content, THE_FILE, keys=("companies",), changes=changes), "companies", THE_FILE)
    if storable(content) != content:
        raise InvalidFile(
            "The file holds what no database stores: U+0000, half a character, too long a number."
        )
    made = []
    with transaction.atomic():
        _wait_for_other_runs()
        for number, entry in enumerate(companies):
            place = f"companies[{number}]"
            described = _object(entry, place, keys=COMPANY_KEYS, changes=changes)
            if only is None or described.get("slug") == only:
                made.append(_company(described, place, changes))
        if only is None:
            slugs = [company.slug for company in made]
            others = Company.objects.filter(is_active=True).exclude(slug__in=slugs).order_by("slug")
            changes.not_in_file += [f"companies: {slug}" for slug in others.values_list("slug", flat=True)]
    return made, changes


def _wait_for_other_runs() -> None:
    """Two at once would both find a company missing and both make it, or wait for each other. In SQLite a
    write transaction is alone.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ONE_AT_A_TIME])


def _company(entry: Mapping[str, Any], place: str, changes: Changes) -> Company:
    calcom = _object(
        entry.get("calcom", {}), f"{place}.calcom", keys=("base_url", *CALCOM_SECRETS), changes=changes
    )
    retell = _object(entry.get("retell", {}), f"{place}.retell", keys=RETELL_SECRETS, changes=changes)
    values: dict[str, Any] = {
        "calcom_base_url": _typed(calcom, "base_url", str, f"{place}.calcom"),
        **{f"calcom_{name}": _secret(calcom.get(name), f"{place}.calcom.{name}") for name in CALCOM_SECRETS},
        **{f"retell_{name}": _secret(retell.get(name), f"{place}.retell.{name}") for name in RETELL_SECRETS},
        **{name: _typed(entry, name, kind, place) for name, kind in COMPANY_FIELDS.items()},
        "opening_hours": entry.get("opening_hours"),
    }
    if "endpoint_id" in entry:
        values["endpoint_id"] = _uuid(entry["endpoint_id"], f"{place}.endpoint_id")
    slug = _required(entry, "slug", place)
    company = _make(Company, {"slug": slug}, values, place, changes)
    event_types.forget_all(company, changed=changes.columns.get(("company", company.pk), ()))
    if not company.is_active:
        changes.switched_off.append(f"companies: {slug}")
    for number, described in enumerate(_list(entry, "branches", place)):
        where = f"{place}.branches[{number}]"
        _branch(company, _object(described, where, keys=BRANCH_KEYS, changes=changes), where, changes)
    for number, described in enumerate(_list(entry, "services", place)):
        where = f"{place}.services[{number}]"
        entry_of_service = _object(described, where, keys=SERVICE_KEYS, nulls=SERVICE_NULLS, changes=changes)
        _service(company, entry_of_service, where, changes)
    for name, rows in (("branches", company.branches), ("services", company.services)):
        if name in entry:
            slugs = [described["slug"] for described in entry[name]]
            others = rows.filter(is_active=True).exclude(slug__in=slugs).order_by("slug")
            changes.not_in_file += [f"{name} of {slug}: {other.slug}" for other in others]
    changes.not_in_file += _numbers_and_agents_not_in(entry, company=company, changes=changes)
    return company


def _numbers_and_agents_not_in(
    entry: Mapping[str, Any], *, company: Company, changes: Changes
) -> Iterator[str]:
    for branch in entry.get("branches", []):
        at = {"branch__company": company, "branch__slug": branch["slug"]}
        if "phone_numbers" in branch:
            numbers = PhoneNumber.objects.filter(**at).exclude(pk__in=changes.described_rows(PhoneNumber))
            for number in numbers.order_by("number").values_list("number", flat=True):
                yield f"phone_numbers of {company.slug}: {number}"
        if "retell_agent_ids" in branch:
            agents = RetellAgent.objects.filter(**at).exclude(pk__in=changes.described_rows(RetellAgent))
            for agent_id in agents.order_by("agent_id").values_list("agent_id", flat=True):
                yield f"retell_agent_ids of {company.slug}: {agent_id}"


def _branch(company: Company, entry: Mapping[str, Any], place: str, changes: Changes) -> None:
    identity = {"company": company, "slug": _required(entry, "slug", place)}
    values = {name: _typed(entry, name, kind, place) for name, kind in BRANCH_FIELDS.items()}
    branch = _make(Branch, identity, values, place, changes)
    if not branch.is_active:
        changes.switched_off.append(f"branches of {company.slug}: {branch.slug}")
    for text in _list(entry, "phone_numbers", place):
        number = phone_numbers.normalise(text, region="ZZ") if isinstance(text, str) else None
        if number is None:
            raise InvalidFile(f"{place}.phone_numbers: {text!r} is not a number in international form.")
        other = PhoneNumber.objects.filter(number=number).exclude(branch__company=company)
        if other.exists():
            raise InvalidFile(
                f"{place}.phone_numbers: {number} belongs to another company. Delete it there in the admin."
            )
        _make(PhoneNumber, {"number": number}, {"branch": branch}, place, changes)
    for given in _list(entry, "retell_agent_ids", place):
        agent_id = read_identifier(given)
        if agent_id is None:
            raise InvalidFile(f"{place}.retell_agent_ids: {given!r} is not the id of a Retell agent.")
        _make(RetellAgent, {"company": company, "agent_id": agent_id}, {"branch": branch}, place, changes)


def _service(company: Company, entry: Mapping[str, Any], place: str, changes: Changes) -> None:
    identity = {"company": company, "slug": _required(entry, "slug", place)}
    values = {
        "duration_minutes": _whole_number(entry, "duration_minutes", place),
        "calcom_event_type_id": _whole_number(entry, "calcom_event_type_id", place),
        "is_active": _typed(entry, "active", bool, place),
        **{name: _typed(entry, name, kind, place) for name, kind in SERVICE_FIELDS.items()},
        "branch": _branch_of(company, entry.get("branch"), place),
    }
    nulls = [name for name in SERVICE_NULLS if name in entry]
    service = _make(Service, identity, values, place, changes, nulls=nulls)
    if not service.is_active and values["is_active"] is None:
        changes.switched_off.append(f"services of {company.slug}: {service.slug}")
    columns = changes.columns.get(("service", service.pk), ())
    if "calcom_event_type_id" in columns:
        # Another event type; whether that one is there is asked before the first booking.
        Service.objects.filter(pk=service.pk).update(vanished_at=None)
    if "duration_minutes" in columns:
        event_types.forget(service)  # and so is whether it lasts as long


def _branch_of(company: Company, slug: Any, place: str) -> Branch | None:
    if slug is None:
        return None
    branch = Branch.objects.filter(company=company, slug=slug).first() if isinstance(slug, str) else None
    if branch is None:
        raise InvalidFile(f"{place}.branch: the company has no branch {slug!r}.")
    return branch


def _make(
    model: type[M],
    identity: Mapping[str, Any],
    values: Mapping[str, Any],
    place: str,
    changes: Changes,
    *,
    nulls: Collection[str] = (),
) -> M:
    """Find or create the row; what is None in `values` was not in the file and keeps its value, except for
    `nulls`.
    """
    rows = model._default_manager.filter(**identity)  # noqa: SLF001 - Django's documented name
    row = without_secrets(rows).first()
    is_new = row is None
    row = row or model(**identity)
    said = {name: value for name, value in values.items() if value is not None or name in nulls}
    different = [name for name, value in said.items() if not _holds(row, name, value)]
    kind = str(model._meta.model_name)  # noqa: SLF001
    if different and (kind, row.pk) in changes.described:
        # Each run would change it to the one and back to the other.
        first = changes.described[kind, row.pk]
        raise InvalidFile(f"{place}: {kind} {row} is described differently in {first}.")
    for name in different:
        setattr(row, name, values[name])
    if not is_new and not different:
        changes.unchanged += 1
        changes.described.setdefault((kind, row.pk), place)
        return row
    try:
        row.full_clean(exclude=row.get_deferred_fields())
    except ValidationError as error:
        problems = (f"{place}.{name}: {' '.join(why)}" for name, why in error.message_dict.items())
        raise InvalidFile("; ".join(problems)) from None
    if is_new:
        row.save()
    else:
        save_only(row, different)  # what the file says nothing of stays as it is by now
        changes.columns[kind, row.pk] = different
    changes.described.setdefault((kind, row.pk), place)
    (changes.created if is_new else changes.updated).append(f"{kind} {row}")
    return row


def _holds(row: models.Model, name: str, value: Any) -> bool:
    try:
        return bool(getattr(row, name, None) == value)
    except CannotDecrypt:
        return False  # this is how a secret is given back whose key was lost


def _secret(value: Any, place: str) -> str | None:
    """A text, or {"env": "NAME"}: then the file holds no secret."""
    if value is None or isinstance(value, str):
        return value if value is None else _one_line(value, place)
    name = value.get("env") if isinstance(value, dict) else None
    if not isinstance(name, str):
        raise InvalidFile(f'{place}: a secret is a text or {{"env": "NAME"}}.')
    if name not in os.environ:
        raise InvalidFile(f"{place}: the environment variable {name} is not set.")
    secret = _one_line(os.environ[name], place)
    if not secret and not place.endswith("_previous"):
        # A shell or a pipeline that lacks it sets it all the same; the secret in use would be gone.
        raise InvalidFile(f'{place}: the environment variable {name} is empty. To have none, write "" here.')
    return secret


def _one_line(secret: str, place: str) -> str:
    """Without the line end that a file or a shell has put behind it: no request could carry that."""
    secret = secret.strip()
    if not secret.isprintable():
        raise InvalidFile(f"{place}: a secret is one line, without control characters.")
    return secret


def _typed(entry: Mapping[str, Any], name: str, kind: type, place: str) -> Any:
    """As it stands in the file; what a field would only take for its type differs from it for ever."""
    value = entry.get(name)
    if value is None or type(value) is kind:
        return value
    raise InvalidFile(f"{place}.{name}: {value!r} is not {KINDS[kind]}.")


def _whole_number(entry: Mapping[str, Any], name: str, place: str) -> int:
    """Whoever writes the file by hand may put it in quotes."""
    value = _required(entry, name, place)
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    if type(value) is not int:
        raise InvalidFile(f"{place}.{name}: {value!r} is not {KINDS[int]}.")
    return value


def _uuid(value: Any, place: str) -> UUID:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise InvalidFile(f"{place}: not a UUID.") from None


def _required(entry: Mapping[str, Any], name: str, place: str) -> Any:
    if entry.get(name) in (None, ""):
        raise InvalidFile(f"{place}: {name} is missing.")
    return entry[name]


def _object(
    value: Any, place: str, *, keys: Collection[str], changes: Changes, nulls: Collection[str] = ()
) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidFile(f"{place} must be an object.")
    for key in value:
        path = key if place == THE_FILE else f"{place}.{key}"
        if key in keys and key not in nulls and value[key] is None:
            changes.ignored.append(f"{path}: null changes nothing; what is stored stays.")
        if key not in keys:
            nearest = get_close_matches(key.lower(), keys, n=1)
            meant = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(keys)}."
            changes.ignored.append(f"{path}: there is no such key; {meant}")
    return value


def _list(entry: Mapping[str, Any], name: str, place: str) -> list[Any]:
    value = entry.get(name, [])
    if not isinstance(value, list):
        raise InvalidFile(f"{place}: {name} must be a list.")
    return value
