from __future__ import annotations

from booking.calcom.client import CalcomClient
from booking.calcom.errors import CalcomMisconfigured
from customers.encrypted_field import CannotDecrypt
from customers.models import Company


def client_for(company: Company) -> CalcomClient:
    """The company's view of Cal.com, with the key that callers book with. Raises CalcomMisconfigured without
    one that can be used.
    """
    try:
        key = company.calcom_api_key
    except CannotDecrypt:
        raise CalcomMisconfigured("This company's Cal.com API key cannot be opened.") from None
    if not key:
        raise CalcomMisconfigured("This company has no Cal.com API key.")
    return CalcomClient(base_url=company.calcom_base_url, api_key=key)
