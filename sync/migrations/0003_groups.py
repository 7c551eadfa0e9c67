"""The groups of the admin. Their permissions do not exist yet while migrations run on an empty database: they
are put in afterwards, by `sync.roles.restore`.
"""

from django.conf import settings
from django.db import migrations

ROLES = ("viewer", "operator", "admin")


def make_groups(apps, schema_editor):
    groups = apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias)
    for name in ROLES:
        groups.get_or_create(name=name)


class Migration(migrations.Migration):

    dependencies = [
        ("sync", "0002_runs_and_audit_entries"),
        ("auth", "0012_alter_user_first_name_max_length"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    # A group may have people in it by the time this is taken back.
    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
