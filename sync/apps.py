from django.apps import AppConfig
from django.db.models.signals import post_migrate


class SyncConfig(AppConfig):
    name = "sync"

    def ready(self) -> None:
        # Registers the checks. Models and checks can be imported only once the apps are loaded.
        from sync import (
            deployment_checks,  # noqa: F401
            roles,
        )

        # Of this app, which is the last: then the permissions of all the others are there.
        post_migrate.connect(roles.restore, sender=self, dispatch_uid="sync.roles")
