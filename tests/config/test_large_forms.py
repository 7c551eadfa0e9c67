import io

import pytest


@pytest.mark.django_db
def test_what_a_stranger_uploads_is_refused_before_it_is_written_to_the_disk(client):
    assert client.post("/admin/login/", {"file": io.BytesIO(b"x" * 2 * 1024 * 1024)}).status_code == 413
    assert client.post("/admin/login/", {"file": io.BytesIO(b"x" * 1024)}).status_code == 200
