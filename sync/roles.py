"""Who may do what in the admin: three groups, and the permissions that its buttons ask for.

    viewer    sees every record
    operator  also works on sync failures, replays deliveries and closes callback requests
    admin     also sets up companies, branches, services and customers

Users and their groups are given by a superuser: whoever may change users can make themselves one.

Permissions come into being after the migrations, so the groups are filled then, and only a group that holds
nothing at all: what an administrator has taken out of one stays out.
"""

from __future__ import annotations

from typing import Any, Protocol

from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType

WORK = "booking.work_on_syncfailure"
REPAIR = "booking.repair_syncfailure"
ACT_AT_CALCOM = "booking.act_at_calcom"
REPLAY = "calls.replay_webhookevent"

# permission: (model it stands with, what it allows)
OWN = {
    WORK: ("syncfailure", "Can assign, snooze, review and resolve sync failures"),
    REPAIR: ("syncfailure", "Can repair our side of a sync failure"),
    ACT_AT_CALCOM: ("syncfailure", "Can book and cancel at Cal.com"),
    REPLAY: ("webhookevent", "Can have deliveries worked again"),
}
VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"
ROLES = (VIEWER, OPERATOR, ADMIN)
APPS = ("customers", "calls", "booking", "sync")
CLOSE_CALLBACKS = "booking.change_callbackrequest"
SET_UP = ("company", "branch", "phonenumber", "retellagent", "service", "customer")


class MayLook(Protocol):
    """A user, as far as it matters to what is shown."""

    def has_perm(self, perm: str) -> bool: ...


def restore(*, using: str = "default", **_signal: Any) -> None:
    """Make what is missing: after every migration, and after a database was emptied."""
    if _is_complete(using):
        return
    permissions = _permissions(using)
    for role in ROLES:
        group, _ = Group.objects.using(using).get_or_create(name=role)
        if not group.permissions.exists():
            group.permissions.set(_of_role(role, permissions))


def _is_complete(using: str) -> bool:
    filled = Group.objects.using(using).filter(name__in=ROLES, permissions__isnull=False).distinct()
    names = [name.partition(".")[2] for name in OWN]
    own = Permission.objects.using(using).filter(codename__in=names)
    return filled.count() == len(ROLES) and own.count() == len(OWN)


def _permissions(using: str) -> list[Permission]:
    """All of our apps', with those of the buttons made if they are missing."""
    for name, (model, words) in OWN.items():
        app, _, codename = name.partition(".")
        kind = ContentType.objects.db_manager(using).get_for_model(apps.get_model(app, model))
        Permission.objects.using(using).get_or_create(
            content_type=kind, codename=codename, defaults={"name": words}
        )
    return list(
        Permission.objects.using(using)
        .filter(content_type__app_label__in=APPS)
        .select_related("content_type")
    )


def _of_role(role: str, permissions: list[Permission]) -> list[Permission]:
    return [permission for permission in permissions if role in _roles_with(permission)]


def _roles_with(permission: Permission) -> tuple[str, ...]:
    name = f"{permission.content_type.app_label}.{permission.codename}"
    if permission.codename.startswith("view_"):
        return ROLES
    if name in OWN or name == CLOSE_CALLBACKS:
        return OPERATOR, ADMIN
    action, _, model = permission.codename.partition("_")
    if action in ("add", "change", "delete") and model in SET_UP:
        return (ADMIN,)
    return ()
