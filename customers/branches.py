from __future__ import annotations

from customers.models import Branch, Company, PhoneNumber, RetellAgent
from customers.statements import Given, Select

_NUMBER = Select(
    lambda: PhoneNumber.objects.filter(
        number=Given("number"), branch__company=Given("company", of="branch__company")
    ).select_related("branch")
)


def branch_for(*, company: Company, called_number: str | None, agent_id: str | None) -> Branch | None:
    """The company's active branch that was called: named by the called number, else by the agent.

    A called number nobody entered here names no branch, also when the agent would: somebody has connected a
    number that was not meant for it. `called_number` is E.164, None where there was none (a web call).
    """
    if called_number:
        number = _NUMBER.first(number=called_number, company=company.pk)
        return _active(number.branch if number else None)
    if agent_id:
        agent = (
            RetellAgent.objects.filter(company=company, agent_id=agent_id).select_related("branch").first()
        )
        return _active(agent.branch if agent else None)
    return None


def only_branch(company: Company) -> Branch | None:
    """The branch of a company that has just one: there a call that names none can mean no other."""
    branches = list(Branch.objects.filter(company=company, is_active=True)[:2])
    return branches[0] if len(branches) == 1 else None


def first_number(branch: Branch) -> str | None:
    return PhoneNumber.objects.filter(branch=branch).values_list("number", flat=True).order_by("pk").first()


def _active(branch: Branch | None) -> Branch | None:
    return branch if branch is not None and branch.is_active else None
