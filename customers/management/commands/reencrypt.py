from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import TextField
from django.db.models.functions import Cast

from customers.company_secrets import SECRET_COLUMNS, without_secrets
from customers.encrypted_field import CannotDecrypt, decrypt, is_current
from customers.models import Company
from customers.ops_command import CLEAN, LEFT_FOR_A_PERSON, OpsCommand


class Command(OpsCommand):
    help = (
        "Encrypt every stored secret with the first key in FIELD_ENCRYPTION_KEY, so that the keys behind it "
        "can go. Running it twice changes nothing. Exit status 1 if a secret is left that no key opens."
    )
    takes_company = False  # a key can go when no company needs it, the inactive ones included

    def work(self, **_options: Any) -> tuple[dict[str, Any], int]:
        report: dict[str, Any] = {"reencrypted": 0, "unchanged": 0, "unreadable": []}
        for pk, slug in Company.objects.order_by("slug").values_list("pk", "slug"):
            _reencrypt(pk, slug, report)
        return report, LEFT_FOR_A_PERSON if report["unreadable"] else CLEAN

    def show(self, report: dict[str, Any]) -> None:
        for secret in report["unreadable"]:
            self.stdout.write(f"{secret}: no key opens it; enter it anew")
        self.stdout.write(f"{report['reencrypted']} encrypted anew, {report['unchanged']} unchanged.")


def _reencrypt(pk: int, slug: str, report: dict[str, Any]) -> None:
    with transaction.atomic():
        # Locked: a secret that somebody enters at this moment must not be overwritten with the former one.
        without_secrets(Company.objects.select_for_update()).get(pk=pk)
        as_stored = [Cast(name, TextField()) for name in SECRET_COLUMNS]
        stored = Company.objects.filter(pk=pk).values_list(*as_stored).get()
        clear = {}
        for name, ciphertext in zip(SECRET_COLUMNS, stored, strict=True):
            if not ciphertext:
                continue
            if is_current(ciphertext):
                report["unchanged"] += 1
                continue
            try:
                clear[name] = decrypt(ciphertext)
            except CannotDecrypt:
                report["unreadable"].append(f"{slug}.{name}")
        if clear:
            Company.objects.filter(pk=pk).update(**clear)
        report["reencrypted"] += len(clear)
