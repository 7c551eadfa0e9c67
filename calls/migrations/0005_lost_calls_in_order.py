from django.db import migrations, models

from customers.live_indexes import AddIndexToLiveTable, RemoveIndexFromLiveTable


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('calls', '0004_fewer_indexes'),
    ]

    operations = [
        AddIndexToLiveTable(
            model_name='call',
            index=models.Index(condition=models.Q(('appointment__isnull', True), ('booking_confirmed', True)), fields=['company', 'id'], name='call_confirmed_lost'),
        ),
        RemoveIndexFromLiveTable(
            model_name='call',
            name='call_confirmed_unlinked',
        ),
    ]
