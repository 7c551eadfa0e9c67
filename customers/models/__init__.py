from customers.models.company import Branch, Company, PhoneNumber, RetellAgent
from customers.models.customer import Customer

__all__ = ["Branch", "Company", "Customer", "PhoneNumber", "RetellAgent"]
