import io
import json
import logging
import logging.config

import pytest
import structlog

from config.logging import logging_settings


@pytest.fixture
def lines():
    """What the settings' JSON format makes of the lines written in a test, as objects."""
    # Not dictConfig as a whole: it closes every handler there is, also those of pytest.
    chosen = logging_settings(log_format="json", level="INFO")
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(
        logging.config.DictConfigurator(chosen).configure_formatter(chosen["formatters"]["line"])
    )
    loggers = [logging.getLogger("booking"), logging.getLogger("some.library")]
    for logger in loggers:
        logger.addHandler(handler)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    for logger in loggers:
        logger.removeHandler(handler)


def test_our_lines_and_the_libraries_come_out_masked_as_json(lines):
    structlog.get_logger("booking").info("booking.refused", caller="+4930123456", call="call_1")
    logging.getLogger("some.library").warning("cannot reach %s", "ann@example.org")
    ours, theirs = lines()
    assert ours["event"] == "booking.refused"
    assert (ours["caller"], ours["call"], ours["level"], ours["logger"]) == (
        "***56",
        "call_1",
        "info",
        "booking",
    )
    assert (theirs["event"], theirs["level"]) == ("cannot reach [email]", "warning")


def test_a_traceback_is_masked_too(lines):
    try:
        raise ValueError("no customer +4930123456")
    except ValueError:
        structlog.get_logger("booking").exception("booking.failed")
        logging.getLogger("some.library").exception("failed")
    ours, theirs = lines()
    for line in (ours, theirs):
        assert "***56" in line["exception"]
        assert "4930123456" not in json.dumps(line)


def test_a_line_below_the_level_is_not_even_put_together(lines):
    class Costly:
        asked = 0

        def __str__(self) -> str:
            Costly.asked += 1
            return "+4930123456"

    logger = structlog.get_logger("booking")
    logging.getLogger("booking").setLevel("INFO")
    logger.debug("booking.looked %s", Costly())
    assert (lines(), Costly.asked) == ([], 0)
    logger.info("booking.looked %s", Costly())
    (line,) = lines()
    assert (line["event"], Costly.asked) == ("booking.looked ***56", 1)
