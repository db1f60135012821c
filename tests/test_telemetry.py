"""The log is one event per line whatever comes, and tells no secrets; metrics have a registry of their own."""

import io
import json
import logging
import re
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorage import telemetry
from moorage.telemetry.log import _Bridge, _State

ANY_TEXT = st.text(st.characters() | st.sampled_from("\n\r\x0b\x0c\x1b\x85\u2028\u2029\ud800\"'\\ ={}"), max_size=30)
LINE_ENDS = re.compile("[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def as_before():
    root = logging.getLogger()
    level, state = root.level, dict(vars(_State))
    yield
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Bridge)]
    root.setLevel(level)
    for name in ("least", "shape", "sink", "access"):
        setattr(_State, name, state[name])


def configured(formatter="json", level="info", stream=None, **more):
    stream = stream if stream is not None else io.StringIO()
    telemetry.configure(level, formatter, stream, **more)
    return stream


def only(stream):
    (line,) = stream.getvalue().splitlines()
    return json.loads(line)


def test_a_line_begins_with_time_level_message_logger_and_request():
    stream = configured(fields={"service": "registry"})
    telemetry.logger("moorage.test").bind(request_id="r-1").warning("it happened", size=3, repo="acme/app")
    line = only(stream)
    assert list(line) == ["ts", "level", "msg", "logger", "request_id", "size", "repo", "service"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])
    assert list(line.values())[1:] == ["warn", "it happened", "moorage.test", "r-1", 3, "acme/app", "registry"]


def test_a_logger_follows_a_later_configuration():
    log = telemetry.logger("moorage.test")
    first = configured(level="error")
    log.info("unheard")
    second = configured(level="debug")
    log.debug("heard")
    assert first.getvalue() == ""
    assert only(second)["msg"] == "heard"


def test_the_standard_librarys_loggers_take_the_same_road():
    configured()
    stream = configured()
    logging.getLogger("uvicorn.error").warning("to %s", "you")
    logging.getLogger("httpx").info("GET https://s3.example/?X-Amz-Signature=abc")
    line = only(stream)
    assert (line["logger"], line["level"], line["msg"]) == ("uvicorn.error", "warn", "to you")


def test_a_record_that_cannot_be_formatted_is_told_as_it_is():
    stream = configured()
    (bridge,) = (handler for handler in logging.getLogger().handlers if isinstance(handler, _Bridge))
    bridge.handle(logging.LogRecord("broken", logging.ERROR, "", 0, "%d things", ("no",), None))
    assert only(stream)["msg"] == "%d things"


@pytest.mark.parametrize("formatter", ["json", "logfmt", "text", "logstash"])
@given(message=ANY_TEXT, name=ANY_TEXT, value=ANY_TEXT)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_breaks_a_line(formatter, message, name, value):
    stream = configured(formatter, fields={"service": "a\nb"})
    telemetry.logger("moorage\n.test").info(message, **{f"x{name}": value, "many": [value], "deep": {value: value}})
    telemetry.access_log()(
        request_id=value, method=value, path=value, status=200, seconds=0.1, size=1, ip=value, ua=value, repo=value
    )
    written = stream.getvalue()
    assert written.endswith("\n")
    assert written.count("\n") == 2
    assert not LINE_ENDS.search(written.replace("\n", ""))
    assert "\x1b" not in written
    written.encode()
    if formatter == "json":
        first, second = map(json.loads, written.splitlines())
        assert first["many"] == [value] or telemetry.redact_text(value) != value
        assert second["ua"] == second["repo"] == value


def fail(why):
    try:
        int(why)
    except ValueError as reason:
        reason.args = (why,)
        telemetry.logger("moorage.test").exception("it failed")


@pytest.mark.parametrize("formatter", ["json", "logfmt", "text"])
def test_a_failure_is_one_line_with_its_traceback(formatter):
    stream = configured(formatter)
    fail("no\nluck at https://bob:hunter2@db.example/x")
    assert stream.getvalue().count("\n") == 1
    assert "test_telemetry.py" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_on_a_terminal_a_traceback_stands_behind_a_bar():
    stream = configured(None, stream=Terminal())
    fail("no\n2026-01-01 INFO all is well\x1b[2J")
    first, *rest = stream.getvalue().rstrip("\n").split("\n")
    assert "\x1b[31mERROR" in first
    assert len(rest) > 3
    assert all(line.startswith("  \x1b[2m│\x1b[0m ") for line in rest)
    assert "\x1b[2J" not in stream.getvalue()


def test_colours_need_a_terminal_that_wants_them(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream = configured(None, stream=Terminal())
    telemetry.logger("moorage.test").info("hello", a="b c")
    assert re.fullmatch(r'\S+Z INFO  hello  logger=moorage.test a="b c"\n', stream.getvalue())


def test_what_is_no_terminal_gets_json():
    stream = configured(None)
    telemetry.logger("moorage.test").info("hello")
    assert only(stream)["msg"] == "hello"


def test_secrets_are_masked_by_name_and_by_form():
    stream = configured()
    telemetry.logger("moorage.test").info(
        "asked https://bob:hunter2@example.com/v2/ with Bearer hunter2hunter2",
        password="hunter2",
        Authorization="Basic hunter2",
        access_key="hunter2",
        token_count=3,
        token_expired=False,
        tokens="acme/app",
        address="https://hunter2@example.com/",
        headers={"Cookie": "hunter2", "Accept": ["hunter"]},
        location="https://s3.example/b?X-Amz-Expires=60&X-Amz-Signature=hunter2&x=1",
        database="postgresql://moorage:hunter2@db:5432/moorage",
        clone="git@example.com: 5 = 5",
    )
    line = only(stream)
    assert "hunter2" not in stream.getvalue()
    assert line["msg"] == "asked https://bob:***@example.com/v2/ with Bearer ***"
    assert line["headers"] == {"Cookie": "***", "Accept": ["hunter"]}
    assert line["location"] == "https://s3.example/b?X-Amz-Expires=60&X-Amz-Signature=***&x=1"
    assert line["database"] == "postgresql://moorage:***@db:5432/moorage"
    assert (line["token_count"], line["token_expired"], line["tokens"]) == (3, False, "acme/app")
    assert line["clone"] == "git@example.com: 5 = 5"


@given(user=st.text("ab%._-", max_size=4), password=st.text("ab:@%._-~!$&()*+,;=?#", min_size=1, max_size=8))
def test_no_part_of_a_password_in_a_url_is_shown(user, password):
    shown = telemetry.redact_text(f"cannot reach postgresql://{user}:{password}@db.example/moorage today")
    assert shown == f"cannot reach postgresql://{user}:***@db.example/moorage today"


def test_an_access_line_has_its_fields_in_order():
    stream = configured(fields={"service": "registry"})
    telemetry.access_log()(
        request_id="r-1",
        method="GET",
        path="/v2/{name}/manifests/{reference}",
        status=200,
        seconds=0.0012,
        size=512,
        ip="192.0.2.1",
        ua='docker "27"' + "x" * 1000,
        actor="alice",
        repo="acme/app",
        ref="1.4",
    )
    line = only(stream)
    assert " ".join(line) == ("ts level msg request_id actor repo ref method path status dur_ms bytes ua ip service")
    assert (line["msg"], line["status"], line["dur_ms"], line["bytes"]) == ("request", 200, 1.2, 512)
    assert len(line["ua"]) == 256


def test_access_lines_can_be_off():
    configured(access=False)
    assert telemetry.access_log() is None


def test_a_log_that_cannot_be_written_fails_nobody():
    class Full(io.StringIO):
        def write(self, _text):
            raise OSError(28, "No space left on device")

    configured(stream=Full())
    telemetry.logger("moorage.test").error("lost")
    closed = io.StringIO()
    configured(stream=closed)
    closed.close()
    telemetry.logger("moorage.test").error("lost")


def test_a_stream_that_knows_ascii_only_takes_everything():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    configured("text", stream=stream)
    telemetry.logger("moorage.test").info("café", name="\ud800")
    assert raw.getvalue().endswith(b'name="\\ud800"\n') or raw.getvalue().endswith(b"name=\\ud800\n")
    assert rb"caf\xe9" in raw.getvalue()


def test_metrics_are_shown_by_label_and_only_ours():
    counter = telemetry.counter("moorage_test_things", "Things.", ("kind",))
    gauge = telemetry.gauge("moorage_test_level", "Level.")
    histogram = telemetry.histogram("moorage_test_seconds", "Time.", ("route",), buckets=(1, 2))
    unused = telemetry.counter("moorage_test_unused", "Never counted.", ("kind",))
    counter.add("a")
    counter.add("a", amount=2)
    counter.add("b")
    gauge.set(5)
    gauge.add(amount=-2)
    histogram.observe(1.5, "/v2/")
    body, media_type = telemetry.exposition()
    text = body.decode()
    assert media_type.startswith("text/plain")
    for line in (
        'moorage_test_things_total{kind="a"} 3.0',
        'moorage_test_things_total{kind="b"} 1.0',
        "moorage_test_level 3.0",
        'moorage_test_seconds_bucket{le="1.0",route="/v2/"} 0.0',
        'moorage_test_seconds_bucket{le="2.0",route="/v2/"} 1.0',
        f"# HELP {unused.shape[1]}_total Never counted.",
    ):
        assert line in text.splitlines()
    assert "_created" not in text
    assert "python_gc" not in text
    assert "process_open_fds" in text
    gauge.read_from(lambda: 42)
    assert "moorage_test_level 42.0" in telemetry.exposition()[0].decode()
    with pytest.raises(ValueError, match="declared twice"):
        telemetry.counter("moorage_test_things", "Other things.")


def test_prometheus_is_imported_when_something_is_counted():
    program = (
        "import sys; from moorage import telemetry; telemetry.configure(); c = telemetry.counter('a', 'b'); "
        "assert 'prometheus_client' not in sys.modules; c.add(); assert 'prometheus_client' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
