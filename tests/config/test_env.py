import pytest

from config import env


def test_values_are_read_without_the_blanks_around_them():
    environ = {"A": " text ", "N": " 12 ", "F": " On ", "W": "a, b ,,c", "X": "1.5"}
    assert env.text("A", environ=environ) == "text"
    assert env.integer("N", default=1, environ=environ) == 12
    assert env.flag("F", default=False, environ=environ) is True
    assert env.words("W", environ=environ) == ["a", "b", "c"]
    assert env.number("X", default=0, environ=environ) == 1.5


@pytest.mark.parametrize("environ", [{}, {"A": ""}, {"A": "   "}])
def test_what_is_empty_counts_as_not_set(environ):
    assert env.text("A", default="d", environ=environ) == "d"
    assert env.integer("A", default=3, environ=environ) == 3
    assert env.number("A", default=0.5, environ=environ) == 0.5
    assert env.flag("A", default=True, environ=environ) is True
    assert env.url("A", default="", environ=environ) == ""
    assert env.words("A", default=("x",), environ=environ) == ["x"]
    assert env.networks("A", environ=environ) == []
    assert env.secret("A", environ=environ) == ""


@pytest.mark.parametrize("value", ["true", "TRUE", "1", "yes", "on"])
def test_a_flag_is_on_in_any_of_the_usual_words(value):
    assert env.flag("F", default=False, environ={"F": value}) is True


@pytest.mark.parametrize("value", ["false", "False", "0", "no", "OFF"])
def test_a_flag_is_off_in_any_of_the_usual_words(value):
    assert env.flag("F", default=True, environ={"F": value}) is False


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda e: env.flag("NAME", default=True, environ=e | {"NAME": "flase"}), id="flag"),
        pytest.param(lambda e: env.integer("NAME", default=1, environ=e | {"NAME": "eight"}), id="integer"),
        pytest.param(lambda e: env.integer("NAME", default=1, environ=e | {"NAME": "1.5"}), id="no integer"),
        pytest.param(
            lambda e: env.integer("NAME", default=1, minimum=2, environ=e | {"NAME": "1"}), id="too small"
        ),
        pytest.param(lambda e: env.number("NAME", default=1, environ=e | {"NAME": "8s"}), id="number"),
        pytest.param(lambda e: env.number("NAME", default=1, environ=e | {"NAME": "nan"}), id="nan"),
        pytest.param(lambda e: env.number("NAME", default=1, environ=e | {"NAME": "inf"}), id="infinite"),
        pytest.param(
            lambda e: env.number("NAME", default=1, minimum=0.5, environ=e | {"NAME": "0.1"}), id="too little"
        ),
        pytest.param(
            lambda e: env.integer("NAME", default=1, maximum=2, environ=e | {"NAME": "3"}), id="too large"
        ),
        pytest.param(
            lambda e: env.number("NAME", default=1, maximum=2, environ=e | {"NAME": "2.1"}), id="too much"
        ),
        pytest.param(lambda e: env.url("NAME", environ=e | {"NAME": "example.org"}), id="no scheme"),
        pytest.param(lambda e: env.url("NAME", environ=e | {"NAME": "ftp://example.org"}), id="scheme"),
        pytest.param(lambda e: env.url("NAME", environ=e | {"NAME": "https://"}), id="no host"),
        pytest.param(lambda e: env.url("NAME", environ=e | {"NAME": "https:///path"}), id="path only"),
        pytest.param(
            lambda e: env.url("NAME", schemes=("smtps",), environ=e | {"NAME": "smtps://ops:word@/"}),
            id="password only",
        ),
        pytest.param(
            lambda e: env.url(
                "NAME", schemes=("postgres",), environ=e | {"NAME": "postgres://u:p@ss/w#rd@h/n"}
            ),
            id="password half read",
        ),
        pytest.param(lambda e: env.url("NAME", environ=e | {"NAME": "https://h:port"}), id="port"),
        pytest.param(lambda e: env.addresses("NAME", environ=e | {"NAME": "a@b.c, ops"}), id="an address"),
        pytest.param(
            lambda e: env.address("NAME", default="", environ=e | {"NAME": "ops at b.c"}), id="no address"
        ),
        pytest.param(lambda e: env.networks("NAME", environ=e | {"NAME": "10.0.0.0/33"}), id="network"),
        pytest.param(
            lambda e: env.text("NAME", choices=("a", "b"), environ=e | {"NAME": "c"}), id="not a choice"
        ),
    ],
)
def test_a_wrong_value_stops_start_up_and_names_its_variable(read):
    with pytest.raises(env.WrongSetting, match="NAME"):
        read({})


def test_a_wrong_url_is_refused_without_repeating_its_password():
    with pytest.raises(env.WrongSetting) as refused:
        env.url("DATABASE_URL", schemes=("postgresql",), environ={"DATABASE_URL": "mysql://u:hunter2@db/x"})
    assert "hunter2" not in str(refused.value)
    assert "DATABASE_URL" in str(refused.value)


def test_a_web_address_loses_its_trailing_slash():
    assert env.url("U", environ={"U": "https://slots.example.org/"}) == "https://slots.example.org"


def test_the_scheme_of_a_url_may_be_in_capitals():
    read = env.url("U", schemes=("postgres",), environ={"U": "POSTGRES://Salon:S3cret@Db/Salon"})
    assert read == "postgres://Salon:S3cret@Db/Salon"


def test_e_mail_addresses_may_be_several_with_names_and_at_hosts_without_a_dot():
    read = env.addresses("A", environ={"A": "Ops <ops@example.org>, root@mailhost"})
    assert read == ["Ops <ops@example.org>", "root@mailhost"]
    assert env.address("F", default="s@localhost", environ={}) == "s@localhost"


def test_networks_are_single_addresses_or_ranges():
    read = env.networks("P", environ={"P": "10.0.0.0/8, 192.0.2.1, ::1"})
    assert [str(network) for network in read] == ["10.0.0.0/8", "192.0.2.1/32", "::1/128"]


def test_a_secret_is_read_from_the_file_named_by_name_file(tmp_path):
    file = tmp_path / "key"
    file.write_text("s3cret\n")
    assert env.secret("KEY", environ={"KEY_FILE": str(file)}) == "s3cret"


def test_a_url_may_hold_a_password_and_is_read_from_a_file_too(tmp_path):
    file = tmp_path / "url"
    file.write_text("postgres://salon:s3cret@db/salon\n")
    read = env.url("DATABASE_URL", schemes=("postgres",), environ={"DATABASE_URL_FILE": str(file)})
    assert read == "postgres://salon:s3cret@db/salon"
    file.write_text("postgress://salon:s3cret@db/salon")
    with pytest.raises(env.WrongSetting) as refused:
        env.url("DATABASE_URL", schemes=("postgres",), environ={"DATABASE_URL_FILE": str(file)})
    assert "s3cret" not in str(refused.value)


def test_a_secret_given_twice_missing_or_empty_stops_start_up(tmp_path):
    file, good, binary = (tmp_path / name for name in ("empty", "good", "binary"))
    file.write_text("  \n")
    good.write_text("s3cret")
    binary.write_bytes(b"\xff\xfe")
    for environ in (
        {"KEY": "a", "KEY_FILE": str(good)},
        {"KEY_FILE": str(binary)},
        {"KEY_FILE": str(tmp_path / "absent")},
        {"KEY_FILE": str(file)},
        {"KEY_FILE": str(tmp_path)},
    ):
        with pytest.raises(env.WrongSetting, match="KEY_FILE"):
            env.secret("KEY", environ=environ)
