from django.apps import AppConfig


class SyncConfig(AppConfig):
    name = "sync"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Registers the checks. Models and checks can be imported only once the apps are loaded.
        from sync import deployment_checks  # noqa: F401
