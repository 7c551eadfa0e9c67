"""The endpoints of /v2: who may call them, in which version, and what they answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from booking.calcom.simulator import payloads, validation
from booking.calcom.simulator.clock import as_utc, millisecond_text
from booking.calcom.simulator.engine import Engine, Made, Moments, Person, Wish
from booking.calcom.simulator.errors import (
    INVALID_KEY,
    NO_AUTHENTICATION,
    NO_PERMISSION,
    refused,
)
from booking.calcom.simulator.request import Answer, Request
from booking.calcom.simulator.slots import free_slots, live_reservations, seated_booking
from booking.calcom.simulator.state import (
    ACCEPTED,
    CANCELLED,
    PENDING,
    REJECTED,
    Account,
    Booking,
    EventType,
    Reservation,
    State,
    Webhook,
)

BOOKINGS = "2024-08-13"
SLOTS = "2024-09-04"
EVENT_TYPES = "2024-06-14"
OLD = "2024-04-15"
KNOWN_VERSIONS = frozenset({OLD, "2024-06-11", EVENT_TYPES, BOOKINGS, SLOTS})

Endpoint = Callable[["Api", Request, Moments, dict[str, str]], Answer]


class Route:
    """`version` None: any header will do. `old`: what answers when the header is missing or unknown.

    `needs`: `key` refuses with 401, `permission` with 403, None lets people without a key in.
    """

    def __init__(
        self,
        method: str,
        pattern: str,
        operation: str,
        endpoint: Endpoint,
        *,
        version: str | None = None,
        old: Endpoint | None = None,
        needs: str | None = None,
    ) -> None:
        self.method = method
        self.pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", f"/v2{pattern}") + "/?")
        self.operation = operation
        self.endpoint = endpoint
        self.version = version
        self.old = old
        self.needs = needs


class Api:
    def __init__(self, state: State, engine: Engine) -> None:
        self.state = state
        self.engine = engine

    def find(self, request: Request) -> tuple[Route | None, dict[str, str]]:
        for route in ROUTES:
            if route.method == request.method and (match := route.pattern.fullmatch(request.path)):
                return route, match.groupdict()
        return None, {}

    def answer(self, request: Request, moments: Moments) -> Answer:
        """Carry the request out. Raises Refusal."""
        if request.api_key is not None and request.account is None:
            raise refused(INVALID_KEY, 401)
        route, parameters = self.find(request)
        if route is None:
            raise self._no_such_path(request)
        endpoint = self._endpoint_of_version(route, request)
        if request.account is None and route.needs == "key":
            raise refused(NO_AUTHENTICATION, 401)
        if request.account is None and route.needs == "permission":
            raise refused(NO_PERMISSION, 403)
        if not request.body_is_json:
            raise refused("Unexpected token in JSON")
        return endpoint(self, request, moments, parameters)

    @staticmethod
    def _no_such_path(request: Request) -> Exception:
        return refused(f"Cannot {request.method} {request.target}", 404)

    def _endpoint_of_version(self, route: Route, request: Request) -> Endpoint:
        if route.version is None or request.version == route.version:
            return route.endpoint
        # a version the server does not know is silently the oldest one
        speaks_old = request.version not in KNOWN_VERSIONS or request.version == OLD
        if speaks_old and route.old is not None:
            return route.old
        raise self._no_such_path(request)

    # --- bookings

    def create(self, request: Request, moments: Moments, _parameters: dict[str, str]) -> Answer:
        body = request.fields
        validation.check_create_body(body)
        wish = self._wish(request, body)
        made = self.engine.create(wish, moments)
        return self._made(made)

    @staticmethod
    def _made(made: Made) -> Answer:
        data = payloads.booking_json(made.booking, made_by_this_request=True, seat_uid=made.seat_uid)
        return Answer(201, {"status": "success", "data": data})

    def _wish(self, request: Request, body: dict[str, Any]) -> Wish:
        event_type = self._event_type_of(request.account, body)
        attendee = body["attendee"]
        answers = body.get("bookingFieldsResponses") or {}
        return Wish(
            event_type=event_type,
            start=as_utc(body["start"]),
            person=Person(
                name=attendee["name"],
                time_zone=attendee["timeZone"],
                email=attendee.get("email"),
                phone=attendee.get("phoneNumber"),
                language=attendee.get("language") or "en",
            ),
            metadata=body.get("metadata") or {},
            length=body.get("lengthInMinutes"),
            guests=body.get("guests") or [],
            answers=answers,
        )

    def _event_type_of(self, account: Account | None, body: dict[str, Any]) -> EventType:
        number, slug = body.get("eventTypeId"), body.get("eventTypeSlug")
        found = self._find_event_type(account, number, slug)
        if found is None and number is not None:
            raise refused(f"Event type with id {number} not found.", 404)
        if found is None:
            raise refused(f"Event type with slug {slug} not found.", 404)
        return found

    def _find_event_type(
        self, account: Account | None, number: int | None, slug: str | None
    ) -> EventType | None:
        """With a key only that account's; without one, as a booking page is public, anybody's."""
        accounts = list(self.state.accounts.values()) if account is None else [account]
        for candidate in accounts:
            for event_type in candidate.event_types.values():
                if event_type.id == number or (number is None and event_type.slug == slug):
                    return event_type
        return None

    def get_booking(self, request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        booking = self._booking(request, parameters)
        return Answer(200, {"status": "success", "data": payloads.booking_json(booking)})

    def _booking(self, request: Request, parameters: dict[str, str]) -> Booking:
        uid = parameters["uid"]
        booking = self.state.visible_booking(uid, request.account)
        if booking is None:
            raise refused(f"Booking with uid={uid} was not found in the database", 404)
        return booking

    def get_booking_by_seat(self, request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        seat = parameters["seat_uid"]
        for booking in self.state.bookings:
            if any(attendee.seat_uid == seat for attendee in booking.attendees):
                found = self._booking(request, {"uid": booking.uid})
                return Answer(200, {"status": "success", "data": payloads.booking_json(found)})
        raise refused(f"Booking with seatUid={seat} was not found in the database", 404)

    def list_bookings(self, request: Request, _moments: Moments, _parameters: dict[str, str]) -> Answer:
        filters = validation.list_query(request.query)
        account = self._owner(request)
        take, skip = filters.get("take", 100), filters.get("skip", 0)
        with self.state.lock:
            counted = [
                booking
                for booking in account.bookings.values()
                if account.may_see(booking)
                and not self.state.is_hidden(booking)
                and self._is_wanted(booking, filters)
            ]
            total = len(counted)
            # the totals do not know the filters by time of change, the data does
            shown = [booking for booking in counted if self._was_changed_then(booking, filters)]
            self._sort(shown, filters)
            data = [payloads.booking_json(booking) for booking in shown[skip : skip + take]]
        page = payloads.pagination(total=total, take=take, skip=skip)
        return Answer(200, {"status": "success", "data": data, "pagination": page})

    def _is_wanted(self, booking: Booking, filters: dict[str, Any]) -> bool:
        if "status" in filters and not self._has_status(booking, filters["status"]):
            return False
        if "afterStart" in filters and booking.start < as_utc(filters["afterStart"]):
            return False
        if "beforeEnd" in filters and booking.end > as_utc(filters["beforeEnd"]):
            return False
        if "eventTypeId" in filters and booking.event_type.id != filters["eventTypeId"]:
            return False
        if "eventTypeIds" in filters and booking.event_type.id not in filters["eventTypeIds"]:
            return False
        for key in ("teamId", "teamsIds"):
            if key in filters:
                wanted = filters[key] if isinstance(filters[key], list) else [filters[key]]
                if not booking.event_type.is_team or booking.account.team_id not in wanted:
                    return False
        if "bookingUid" in filters and booking.uid != filters["bookingUid"]:
            return False
        email, name = filters.get("attendeeEmail"), filters.get("attendeeName")
        return (email is None or any(each.email == email for each in booking.attendees)) and (
            name is None or any(each.name == name for each in booking.attendees)
        )

    def _has_status(self, booking: Booking, statuses: list[str]) -> bool:
        now = self.state.clock.now()
        return any(
            (status == "upcoming" and booking.end >= now and booking.is_active)
            or (status == "past" and booking.end <= now and booking.is_active)
            or (status == "cancelled" and booking.status in (CANCELLED, REJECTED))
            or (status == "unconfirmed" and booking.end >= now and booking.status == PENDING)
            for status in statuses
        )

    @staticmethod
    def _was_changed_then(booking: Booking, filters: dict[str, Any]) -> bool:
        for after, before, moment in (
            ("afterUpdatedAt", "beforeUpdatedAt", booking.updated_at),
            ("afterCreatedAt", "beforeCreatedAt", booking.created_at),
        ):
            if after in filters and moment < as_utc(filters[after]):
                return False
            if before in filters and moment > as_utc(filters[before]):
                return False
        return True

    @staticmethod
    def _sort(bookings: list[Booking], filters: dict[str, Any]) -> None:
        keys: dict[str, Callable[[Booking], tuple[datetime, int]]] = {
            "sortStart": lambda booking: (booking.start, booking.id),
            "sortEnd": lambda booking: (booking.end, booking.id),
            "sortCreated": lambda booking: (booking.created_at, booking.id),
            "sortUpdatedAt": lambda booking: (booking.updated_at, booking.id),
        }
        name = next((name for name in keys if name in filters), "sortStart")
        bookings.sort(key=keys[name], reverse=filters.get(name) == "desc")

    @staticmethod
    def _owner(request: Request) -> Account:
        if request.account is None:
            raise refused(NO_PERMISSION, 403)
        return request.account

    def cancel(self, request: Request, moments: Moments, parameters: dict[str, str]) -> Answer:
        validation.check_cancel_body(request.fields)
        uid = parameters["uid"]
        booking = self.state.visible_booking(uid, request.account)
        if booking is None:
            raise refused(f"Booking with uid={uid} not found", 404)
        self.engine.cancel(
            booking,
            reason=request.fields.get("cancellationReason"),
            seat_uid=request.fields.get("seatUid"),
            by_owner=request.account is not None,
            moments=moments,
        )
        return Answer(200, {"status": "success", "data": payloads.booking_json(booking)})

    def reschedule(self, request: Request, moments: Moments, parameters: dict[str, str]) -> Answer:
        body = request.fields
        validation.check_reschedule_body(body)
        made = self.engine.reschedule(
            self._booking(request, parameters),
            as_utc(body["start"]),
            by_owner=request.account is not None,
            reason=body.get("reschedulingReason"),
            rescheduled_by=body.get("rescheduledBy"),
            moments=moments,
        )
        return self._made(made)

    def confirm(self, request: Request, moments: Moments, parameters: dict[str, str]) -> Answer:
        booking = self.engine.confirm(self._booking(request, parameters), moments=moments)
        return Answer(200, {"status": "success", "data": payloads.booking_json(booking)})

    def decline(self, request: Request, moments: Moments, parameters: dict[str, str]) -> Answer:
        validation.check_decline_body(request.fields)
        booking = self.engine.decline(
            self._booking(request, parameters), reason=request.fields.get("reason"), moments=moments
        )
        return Answer(200, {"status": "success", "data": payloads.booking_json(booking)})

    def mark_absent(self, request: Request, moments: Moments, parameters: dict[str, str]) -> Answer:
        validation.check_mark_absent_body(request.fields)
        booking = self.engine.mark_absent(
            self._booking(request, parameters),
            host=request.fields.get("host"),
            attendees=request.fields.get("attendees", []),
            moments=moments,
        )
        return Answer(200, {"status": "success", "data": payloads.booking_json(booking)})

    # --- bookings in the oldest version

    def old_create(self, request: Request, _moments: Moments, _parameters: dict[str, str]) -> Answer:
        raise validation.old_create_refusal(request.fields)

    def old_list(self, request: Request, _moments: Moments, _parameters: dict[str, str]) -> Answer:
        """Another shape, accepted and pending ones only, every filter ignored without a word."""
        account = self._owner(request)
        with self.state.lock:
            bookings = sorted(
                (
                    booking
                    for booking in account.bookings.values()
                    if booking.status in (ACCEPTED, PENDING)
                    and account.may_see(booking)
                    and not self.state.is_hidden(booking)
                ),
                key=lambda booking: (booking.start, booking.id),
            )
            return Answer(200, {"status": "success", "data": payloads.old_list_json(bookings)})

    def old_get(self, request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        booking = self._booking(request, parameters)
        return Answer(200, {"status": "success", "data": payloads.old_booking_json(booking)})

    # --- slots

    def slots(self, request: Request, _moments: Moments, _parameters: dict[str, str]) -> Answer:
        query = request.query
        validation.check_slot_query(query)
        number = int(query["eventTypeId"]) if "eventTypeId" in query else None
        event_type = self._find_event_type(request.account, number, query.get("eventTypeSlug"))
        if event_type is None:
            raise refused("Event Type not found", 404)
        moving = query.get("bookingUidToReschedule")
        with self.state.lock:
            found = free_slots(
                self.state,
                event_type,
                start=as_utc(query["start"]),
                end=validation.whole_day_end(query["end"]),
                minutes=int(query["duration"]) if "duration" in query else None,
                ignoring=self.state.booking(moving) if moving else None,
            )
            days: dict[str, list[dict[str, Any]]] = {}
            for start, end in found:
                day, slot = self._slot(query, start, end)
                if event_type.seats is not None:
                    slot.update(self._seats(event_type, start))
                days.setdefault(day, []).append(slot)
        return Answer(200, {"data": days, "status": "success"})

    @staticmethod
    def _slot(query: dict[str, str], start: datetime, end: datetime) -> tuple[str, dict[str, Any]]:
        zone = query.get("timeZone")
        as_range = query.get("format") == "range"
        if zone is None:
            shown = {"start": millisecond_text(start)}
            if as_range:
                shown["end"] = millisecond_text(end)
            return start.date().isoformat(), shown
        local = start.astimezone(ZoneInfo(zone))
        shown = {"start": local.isoformat(timespec="milliseconds")}
        if as_range:
            shown["end"] = end.astimezone(local.tzinfo).isoformat(timespec="milliseconds")
        return local.date().isoformat(), shown

    def _seats(self, event_type: EventType, start: datetime) -> dict[str, Any]:
        booking = seated_booking(self.state, event_type, start)
        taken = len(booking.attendees) if booking else 0
        total = event_type.seats or 0
        shown: dict[str, Any] = {
            "seatsBooked": taken,
            "seatsRemaining": total - taken,
            "seatsTotal": total,
        }
        if booking is not None:
            shown["bookingUid"] = booking.uid
        return shown

    def reserve(self, request: Request, _moments: Moments, _parameters: dict[str, str]) -> Answer:
        body = request.fields
        validation.check_reservation_body(body)
        state = self.state
        duration = body.get("reservationDuration")
        if duration is not None and request.account is None:
            raise refused(
                "reservationDuration can only be used for authenticated requests - use access token, api key "
                "or OAuth credentials",
                401,
            )
        event_type = self._find_event_type(request.account, body["eventTypeId"], None)
        if event_type is None:
            raise refused(f"Event Type with id={body['eventTypeId']} not found", 404)
        start = as_utc(body["slotStart"])
        end = start + timedelta(minutes=body.get("slotDuration") or event_type.minutes)
        with state.lock:
            booked = [booking for booking in state.same_start(event_type, start) if booking.is_active]
            if event_type.seats is None and booked:
                raise refused("Can't reserve a slot if the event is already booked.", 422)
            if any(held.start == start for held in live_reservations(state, event_type)):
                raise refused(
                    "This time slot is already reserved by another user. Please choose a different time.", 422
                )
            minutes = duration or 5
            reservation = Reservation(
                uid=state.new_uuid(),
                event_type=event_type,
                start=start,
                end=end,
                until=state.clock.now() + timedelta(minutes=minutes),
                duration=minutes,
            )
            event_type.account.reservations[reservation.uid] = reservation
        data = payloads.reservation_json(reservation, with_duration=True)
        return Answer(201, {"status": "success", "data": data})

    def _reservation(self, uid: str) -> Reservation | None:
        for account in self.state.accounts.values():
            reservation = account.reservations.get(uid)
            if reservation is not None and reservation.until > self.state.clock.now():
                return reservation
        return None

    def get_reservation(self, _request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        reservation = self._reservation(parameters["uid"])
        data = payloads.reservation_json(reservation, with_duration=False) if reservation else None
        return Answer(200, {"status": "success", "data": data})

    def change_reservation(self, request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        validation.check_reservation_body(request.fields)
        reservation = self._reservation(parameters["uid"])
        if reservation is None:
            raise refused(f"Reservation with uid={parameters['uid']} not found", 404)
        start = as_utc(request.fields["slotStart"])
        minutes = request.fields.get("reservationDuration") or reservation.duration
        with self.state.lock:
            length = reservation.end - reservation.start
            reservation.start, reservation.end = start, start + length
            reservation.duration = minutes
            reservation.until = self.state.clock.now() + timedelta(minutes=minutes)
        data = payloads.reservation_json(reservation, with_duration=True)
        return Answer(200, {"status": "success", "data": data})

    def delete_reservation(self, _request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        with self.state.lock:
            for account in self.state.accounts.values():
                account.reservations.pop(parameters["uid"], None)
        return Answer(200, {"status": "success"})

    # --- event types and the key's owner

    def me(self, request: Request, _moments: Moments, _parameters: dict[str, str]) -> Answer:
        return Answer(200, {"status": "success", "data": payloads.me_json(self._owner(request))})

    def list_event_types(self, request: Request, _moments: Moments, _parameters: dict[str, str]) -> Answer:
        """With a key the owner's personal types, not those of the team."""
        account = request.account
        slug = request.query.get("eventSlug")
        accounts = [account] if account else list(self.state.accounts.values())
        data = [
            payloads.event_type_json(event_type, with_hidden_fields=False)
            for each in accounts
            if account is not None or each.owner.username == request.query.get("username")
            for event_type in each.event_types.values()
            if not event_type.is_team and (slug is None or event_type.slug == slug)
        ]
        return Answer(200, {"status": "success", "data": data})

    def get_event_type(self, request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        number = parameters["id"]
        event_type = self._find_event_type(request.account, int(number), None) if number.isdigit() else None
        if event_type is None:
            raise refused(f"Event type with id {number} not found", 404)
        data = payloads.event_type_json(event_type, with_hidden_fields=True)
        return Answer(200, {"status": "success", "data": data})

    # --- teams

    def list_teams(self, request: Request, _moments: Moments, _parameters: dict[str, str]) -> Answer:
        """The team of an account there is as soon as it has an event type."""
        account = self._owner(request)
        teams = [payloads.team_json(account)] if self._team_event_types(account) else []
        return Answer(200, {"status": "success", "data": teams})

    def list_team_event_types(
        self, request: Request, _moments: Moments, parameters: dict[str, str]
    ) -> Answer:
        account = self._owner(request)
        if parameters["id"] != str(account.team_id):
            raise refused("User is not a member of the team", 403)
        data = [
            payloads.event_type_json(event_type, with_hidden_fields=False)
            for event_type in self._team_event_types(account)
        ]
        return Answer(200, {"status": "success", "data": data})

    @staticmethod
    def _team_event_types(account: Account) -> list[EventType]:
        return [event_type for event_type in account.event_types.values() if event_type.is_team]

    # --- webhook subscriptions

    def _subscriptions(self, account: Account, event_type_id: int | None) -> list[Webhook]:
        return [each for each in account.webhooks.values() if each.event_type_id == event_type_id]

    def _scope(self, request: Request, parameters: dict[str, str]) -> tuple[Account, int | None]:
        account = self._owner(request)
        if "id" not in parameters:
            return account, None
        number = parameters["id"]
        if not number.isdigit() or int(number) not in account.event_types:
            raise refused(f"Event type with id {number} not found", 404)
        return account, int(number)

    def create_webhook(self, request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        body = request.fields
        validation.check_webhook_body(body)
        account, event_type_id = self._scope(request, parameters)
        with self.state.lock:
            subscribed = [each.url for each in self._subscriptions(account, event_type_id)]
            if body["subscriberUrl"] in subscribed:
                whose = "user" if event_type_id is None else "event type"
                raise refused(f"Webhook with this subscriber url already exists for this {whose}", 409)
            webhook = self.state.add_webhook(
                account,
                url=body["subscriberUrl"],
                triggers=body["triggers"],
                secret=body.get("secret"),
                active=body["active"],
                event_type_id=event_type_id,
            )
            webhook.payload_template = body.get("payloadTemplate")
        return Answer(201, {"status": "success", "data": payloads.webhook_json(webhook)})

    def list_webhooks(self, request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        account, event_type_id = self._scope(request, parameters)
        query = request.query
        take = int(query["take"]) if query.get("take", "").isdigit() else 100
        skip = int(query["skip"]) if query.get("skip", "").isdigit() else 0
        webhooks = self._subscriptions(account, event_type_id)[skip : skip + take]
        return Answer(
            200, {"status": "success", "data": [payloads.webhook_json(webhook) for webhook in webhooks]}
        )

    def _webhook(self, request: Request, parameters: dict[str, str]) -> Webhook:
        account, event_type_id = self._scope(request, parameters)
        webhook = account.webhooks.get(parameters["webhook_id"])
        if webhook is None or webhook.event_type_id != event_type_id:
            raise refused(f"Webhook ({parameters['webhook_id']}) not found", 404)
        return webhook

    def get_webhook(self, request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        webhook = self._webhook(request, parameters)
        show = payloads.user_webhook_row if webhook.event_type_id is None else payloads.webhook_json
        return Answer(200, {"status": "success", "data": show(webhook)})

    def change_webhook(self, request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        body = request.fields
        validation.check_webhook_body(body, partial=True)
        webhook = self._webhook(request, parameters)
        with self.state.lock:
            webhook.url = body.get("subscriberUrl", webhook.url)
            webhook.triggers = body.get("triggers", webhook.triggers)
            webhook.active = body.get("active", webhook.active)
            webhook.secret = body.get("secret", webhook.secret)
            webhook.payload_template = body.get("payloadTemplate", webhook.payload_template)
        return Answer(200, {"status": "success", "data": payloads.webhook_json(webhook)})

    def delete_webhook(self, request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        webhook = self._webhook(request, parameters)
        with self.state.lock:
            webhook.account.webhooks.pop(webhook.id, None)
        return Answer(200, {"status": "success", "data": payloads.webhook_json(webhook)})

    def delete_webhooks(self, request: Request, _moments: Moments, parameters: dict[str, str]) -> Answer:
        account, event_type_id = self._scope(request, parameters)
        with self.state.lock:
            doomed = self._subscriptions(account, event_type_id)
            for webhook in doomed:
                del account.webhooks[webhook.id]
        return Answer(200, {"status": "success", "data": f"{len(doomed)} webhooks deleted"})


ROUTES = (
    Route("POST", "/bookings", "create", Api.create, version=BOOKINGS, old=Api.old_create),
    Route(
        "GET",
        "/bookings",
        "list",
        Api.list_bookings,
        version=BOOKINGS,
        old=Api.old_list,
        needs="permission",
    ),
    Route("GET", "/bookings/by-seat/{seat_uid}", "get", Api.get_booking_by_seat, version=BOOKINGS),
    Route("GET", "/bookings/{uid}", "get", Api.get_booking, version=BOOKINGS, old=Api.old_get),
    Route("POST", "/bookings/{uid}/cancel", "cancel", Api.cancel, version=BOOKINGS),
    Route("POST", "/bookings/{uid}/reschedule", "reschedule", Api.reschedule, version=BOOKINGS),
    Route("POST", "/bookings/{uid}/confirm", "confirm", Api.confirm, version=BOOKINGS, needs="permission"),
    Route("POST", "/bookings/{uid}/decline", "decline", Api.decline, version=BOOKINGS, needs="permission"),
    Route(
        "POST",
        "/bookings/{uid}/mark-absent",
        "mark_absent",
        Api.mark_absent,
        version=BOOKINGS,
        needs="permission",
    ),
    Route("GET", "/slots", "slots", Api.slots, version=SLOTS),
    Route("POST", "/slots/reservations", "reservation", Api.reserve, version=SLOTS),
    Route("GET", "/slots/reservations/{uid}", "reservation", Api.get_reservation, version=SLOTS),
    Route("PATCH", "/slots/reservations/{uid}", "reservation", Api.change_reservation, version=SLOTS),
    Route("DELETE", "/slots/reservations/{uid}", "reservation", Api.delete_reservation, version=SLOTS),
    Route("GET", "/event-types", "event_type", Api.list_event_types, version=EVENT_TYPES),
    Route("GET", "/event-types/{id}", "event_type", Api.get_event_type, version=EVENT_TYPES),
    Route("GET", "/teams", "teams", Api.list_teams, needs="key"),
    Route(
        "GET",
        "/teams/{id}/event-types",
        "teams",
        Api.list_team_event_types,
        version=EVENT_TYPES,
        needs="key",
    ),
    Route("GET", "/me", "me", Api.me, needs="key"),
    *(
        route
        for prefix in ("/webhooks", "/event-types/{id}/webhooks")
        for route in (
            Route("POST", prefix, "webhooks", Api.create_webhook, needs="key"),
            Route("GET", prefix, "webhooks", Api.list_webhooks, needs="key"),
            Route("GET", f"{prefix}/{{webhook_id}}", "webhooks", Api.get_webhook, needs="key"),
            Route("PATCH", f"{prefix}/{{webhook_id}}", "webhooks", Api.change_webhook, needs="key"),
            Route("DELETE", f"{prefix}/{{webhook_id}}", "webhooks", Api.delete_webhook, needs="key"),
        )
    ),
    Route("DELETE", "/event-types/{id}/webhooks", "webhooks", Api.delete_webhooks, needs="key"),
)
