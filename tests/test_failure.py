"""What a server says instead of an answer: which error it is, what its text tells, and what it keeps to itself."""

from __future__ import annotations

import json
import os
import pickle
import time
from email.utils import formatdate
from itertools import count

import pytest

from polycall import DeadlineError, LimitError, TransportError
from polycall._failure import failure, redact, redirected, reported

URL = "https://api.example.com/v1/chat/completions"
KEY = "sk-canary-0123456789"


def told(status=400, body=b"", **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return failure(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw, URL)


# --------------------------------------------------------------------------------------------------------- what it tells

OPENAI = {
    "error": {
        "message": "you asked: my secret question",
        "type": "invalid_request_error",
        "param": "messages[0].content",
        "code": "x1",
    }
}
ANTHROPIC = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded, dear"}}
GOOGLE = {"error": {"code": 429, "message": "secret words", "status": "RESOURCE_EXHAUSTED"}}
START = "api.example.com answered "
END = "; its words are in `body`"


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (400, OPENAI, f"400 Bad Request, invalid_request_error, x1, at messages[0].content{END}"),
        (529, ANTHROPIC, f"529, overloaded_error{END}"),
        (429, GOOGLE, f"429 Too Many Requests, 429, RESOURCE_EXHAUSTED{END}"),
        (429, [GOOGLE], f"429 Too Many Requests, 429, RESOURCE_EXHAUSTED{END}"),
        (500, [], f"500 Internal Server Error{END}"),
        (500, ["words"], f"500 Internal Server Error{END}"),
        (500, "words", f"500 Internal Server Error{END}"),
        (500, 5, f"500 Internal Server Error{END}"),
        (500, None, f"500 Internal Server Error{END}"),
        (500, {"error": "words"}, f"500 Internal Server Error{END}"),
        (500, {"error": None, "type": "mine"}, f"500 Internal Server Error, mine{END}"),
        (500, {"detail": "Not Found"}, f"500 Internal Server Error{END}"),
        (403, {"detail": [{"loc": ["body"], "msg": "words"}]}, f"403 Forbidden, the key may not do this{END}"),
        (500, {"type": "one", "code": "one", "status": "one"}, f"500 Internal Server Error, one{END}"),
        (500, {"type": "two words", "code": "secret: sentence", "status": ""}, f"500 Internal Server Error{END}"),
        (500, {"type": "x" * 65, "param": "y" * 101}, f"500 Internal Server Error{END}"),
        (500, {"type": None, "code": 1.5, "status": ["a"], "param": 3}, f"500 Internal Server Error{END}"),
        (500, {"param": "two words"}, f"500 Internal Server Error{END}"),
        (500, {"type": "line\nbreak", "param": "a\nb"}, f"500 Internal Server Error{END}"),
        (503, b"<html><body>secret</body></html>", f"503 Service Unavailable{END}"),
        (502, b"", "502 Bad Gateway"),
        (502, b" \r\n", "502 Bad Gateway"),
        (502, b"\xff\xfe\x00", f"502 Bad Gateway{END}"),
        (500, b'{"error": {"type": "cut', f"500 Internal Server Error{END}"),
        (500, b"[" * 5000, f"500 Internal Server Error{END}"),
        (401, b"", "401 Unauthorized, check the key"),
        (403, b"", "403 Forbidden, the key may not do this"),
        (404, b"", "404 Not Found, check the model's name and base_url"),
        (302, b"", "302 Found, it redirects as only pages can be: put the final address into base_url"),
        (307, b"", "307 Temporary Redirect"),
        (799, b"", "799"),
    ],
    ids=count(),
)
def test_the_text_tells_the_type_and_never_the_words(status, body, text):
    error = told(status, body)
    assert type(error) is TransportError
    assert str(error) == START + text
    assert error.status == status
    assert "secret" not in str(error)
    assert "words" not in str(error).removesuffix(END)


def test_a_request_that_is_too_large():
    assert str(told(413)).endswith(", the request is too large")


def test_the_words_are_in_the_body():
    assert "my secret question" in (told(400, OPENAI).body or "")
    assert told(400, b"a\xffb").body == "a\N{REPLACEMENT CHARACTER}b"
    assert told(400).body == ""


def test_the_body_does_not_travel():
    assert b"secret" not in pickle.dumps(told(400, OPENAI))


@pytest.mark.parametrize("id", ["", "two words", "x" * 1000, "a\nb"])
def test_an_id_that_is_none(id):
    assert told(400, x_request_id=id).request_id is None


def test_the_id_of_the_request():
    assert told(400, x_request_id="r1", request_id="r2").request_id == "r1"
    assert told(400, request_id="r2").request_id == "r2"
    assert told(400).request_id is None


@pytest.mark.parametrize("code", [10**4000, 10**5000, True, -5], ids=["long", "too long to write", "boolean", "negative"])
def test_a_code_that_is_a_strange_number(code):
    text = str(reported({"code": code}))
    assert text.isprintable()
    assert len(text) < 400
    assert "True" not in text


@pytest.mark.parametrize("digits", [100, 4_000, 5_000, 100_000])
def test_a_code_of_many_digits(digits):
    assert len(str(told(500, b'{"error": {"code": ' + b"7" * digits + b"}}"))) < 400


# ---------------------------------------------------------------------------------------------------- whether it is lasting


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 529, 599])
def test_what_may_go_better_the_next_time(status):
    assert told(status).transient
    assert not told(status, x_should_retry="false").transient


@pytest.mark.parametrize("status", [300, 301, 304, 307, 400, 401, 402, 403, 404, 405, 413, 415, 422, 499])
def test_what_stays(status):
    assert not told(status).transient
    assert told(status, x_should_retry="true").transient
    assert not told(status, x_should_retry="perhaps").transient


@pytest.mark.parametrize(
    "details",
    [
        {"type": "insufficient_quota"},
        {"code": "insufficient_quota", "type": "insufficient_quota"},
        {"code": "billing_hard_limit_reached"},
        {"code": "billing_not_active"},
        {"code": "credits_exhausted"},
        {"status": "CREDITS_EXHAUSTED"},
    ],
)
@pytest.mark.parametrize("status", [403, 429, 500])
def test_a_quota_that_is_used_up_stays(details, status):
    error = told(status, {"error": details})
    assert not error.transient
    assert "the quota is used up" in str(error)
    assert not told(status, {"error": details}, x_should_retry="true").transient
    assert not reported(details).transient


@pytest.mark.parametrize(
    ("details", "transient"),
    [
        ({"type": "overloaded_error"}, True),
        ({"type": "server_error", "code": None}, True),
        ({"code": 429}, True),
        ({"code": "429"}, True),
        ({"code": 408}, True),
        ({"code": 409}, True),
        ({"code": 503, "status": "UNAVAILABLE"}, True),
        ({"code": 599}, True),
        ({"code": 600}, False),
        ({"code": 400}, False),
        ({"code": "401"}, False),
        ({"code": 404, "type": "overloaded_error"}, False),
        ({"code": 429, "type": "insufficient_quota"}, False),
        ({"code": 1301}, True),
        ({"code": 20}, True),
        ({"type": "invalid_request_error"}, False),
        ({"type": "Invalid_Request_Error"}, False),
        ({"type": "authentication_error"}, False),
        ({"type": "permission_error"}, False),
        ({"type": "not_found_error"}, False),
        ({"code": "model_not_found"}, False),
        ({"code": "invalid_api_key"}, False),
        ({}, True),
        ("words", True),
        (["words"], True),
        (None, True),
    ],
)
def test_an_error_that_comes_with_a_good_status(details, transient):
    error = reported(details)
    assert error.transient is transient
    assert error.status is None
    assert error.body == json.dumps(details)
    assert "words" not in str(error).replace("its words are in `body`", "")


def test_the_text_of_a_reported_error():
    details = {"message": "secret words", "type": "server_error", "code": 503, "param": "tools[0]"}
    assert str(reported(details)) == "the server reported an error: server_error, 503, at tools[0]; its words are in `body`"
    assert str(reported("words")) == "the server reported an error: no details; its words are in `body`"


# ------------------------------------------------------------------------------------------------------------ Retry-After


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": " 7 "}, 7.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "-5"}, 0.0),
        ({"retry_after": "1e300"}, 1e300),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "250", "retry_after": "7"}, 0.25),
        ({"retry_after_ms": "-1", "retry_after": "7"}, 0.0),
        ({"retry_after_ms": "soon", "retry_after": "7"}, 7.0),
        ({"retry_after_ms": "nan", "retry_after": "7"}, 7.0),
        ({"retry_after_ms": "inf", "retry_after": "7"}, 7.0),
        ({"retry_after_ms": "", "retry_after": "7"}, 7.0),
        ({"retry_after_ms": "soon"}, None),
        ({"retry_after_ms": "nan"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "-inf"}, None),
        ({"retry_after": "1e400"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": " "}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "1, 2"}, None),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry_after": "Fri, 99 Foo 2015 07:28:00 GMT"}, None),
        ({"retry_after": "Fri, 31 Dec 99999 23:59:59 GMT"}, None),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 +99999999999"}, None),
        ({"retry_after": "Mon, 01 Jan 0001 00:00:00 GMT"}, 0.0),
        ({"retry_after": "12:00"}, None),
    ],
)
def test_seconds_that_the_server_asks_to_wait(headers, seconds):
    error = told(429, **headers)
    assert error.retry_after == seconds
    assert error.transient


INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo"}


@pytest.mark.parametrize(
    ("details", "seconds"),
    [
        ([{**INFO, "retryDelay": "3.5s"}], 3.5),
        ([{"@type": "type.googleapis.com/google.rpc.QuotaFailure"}, {**INFO, "retryDelay": "34s"}], 34.0),
        ([{**INFO, "retryDelay": "0.847655010s"}], 0.84765501),
        ([{**INFO, "retryDelay": "0s"}], 0.0),
        ([{**INFO, "retryDelay": "-1s"}], None),
        ([{**INFO, "retryDelay": "9" * 400 + "s"}], None),
        ([{**INFO, "retryDelay": "nans"}], None),
        ([{**INFO, "retryDelay": "3.5"}], None),
        ([{**INFO, "retryDelay": 3.5}], None),
        ([{**INFO, "retryDelay": {"seconds": 3}}], None),
        ([INFO, None, "words", 5, []], None),
        ({**INFO, "retryDelay": "3.5s"}, None),
        ("words", None),
        (None, None),
    ],
    ids=count(),
)
def test_seconds_that_the_body_asks_to_wait(details, seconds):
    error = {**GOOGLE["error"], "details": details}
    for told_so in (told(429, {"error": error}), told(429, [{"error": error}]), reported(error)):
        assert told_so.retry_after == seconds
        assert told_so.transient


def test_the_header_goes_before_the_body():
    body = {"error": {"details": [{**INFO, "retryDelay": "3.5s"}]}}
    assert told(429, body, retry_after="0").retry_after == 0.0
    assert told(429, body, retry_after="7").retry_after == 7.0
    assert told(429, body, retry_after="soon").retry_after == 3.5


@pytest.fixture
def far_east(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(os.name == "nt", reason="the zone of a process cannot be changed there")
@pytest.mark.usefixtures("far_east")
@pytest.mark.parametrize("form", ["GMT", "-0000", "as C writes it"])
def test_a_date_is_in_utc_wherever_this_runs(form):
    when = time.time() + 30
    date = formatdate(when, usegmt=True)
    if form == "-0000":
        date = date.replace("GMT", "-0000")
    elif form == "as C writes it":
        date = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(when))
    assert told(503, retry_after=date).retry_after == pytest.approx(30, abs=3)


def test_a_date_in_another_zone():
    when = time.gmtime(time.time() + 30 + 2 * 3600)
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0200", when)
    assert told(503, retry_after=date).retry_after == pytest.approx(30, abs=3)


# ----------------------------------------------------------------------------------------------------------------- secrets


def everything(error):
    return "".join([str(error), repr(error), str(vars(error)), str(error.args), pickle.dumps(error).decode("latin-1")])


@pytest.mark.parametrize(
    "details",
    [
        {"message": f"Incorrect API key provided: {KEY}."},
        {"type": KEY},
        {"code": KEY},
        {"status": f"{KEY}"},
        {"type": f"bad-{KEY}-key"},
        {"param": KEY},
        {"param": f"headers.{KEY}"},
        {"message": "a" * 1950 + KEY},
        *({"message": "a" * (1980 - over) + KEY} for over in range(0, 60, 3)),
        {"type": "t" * 64, "code": "c" * 64, "status": "s" * 50, "param": KEY},
        {"type": "t" * 64, "code": "c" * 64, "status": "s" * 35, "param": KEY},
    ],
    ids=count(),
)
def test_a_key_that_the_server_echoes_is_taken_out(details):
    for error in told(401, {"error": details}), reported(details):
        redact(error, (KEY,))
        assert "canary" not in everything(error)
        assert len(error.body or "") <= 2_000
        assert len(str(error)) < 500


def test_a_key_as_the_id_of_the_request_is_taken_out():
    error = told(401, x_request_id=f"r-{KEY}")
    redact(error, (KEY,))
    assert "canary" not in everything(error)


def test_a_key_that_is_part_of_a_longer_secret():
    error = told(401, f"{KEY} {KEY}-tail".encode())
    redact(error, (KEY, f"{KEY}-tail"))
    assert "canary" not in everything(error)
    assert "tail" not in everything(error)


def test_taking_out_what_is_not_there_changes_nothing():
    error = told(400, OPENAI)
    text, body = str(error), error.body
    redact(error, (KEY,))
    redact(error, ())
    assert (str(error), error.body) == (text, body)


def test_an_error_without_a_body_stays_without():
    error = DeadlineError(f"too late for {KEY}")
    redact(error, (KEY,))
    assert (str(error), error.body) == ("too late for [key]", None)


# -------------------------------------------------------------------------------------------------------------- redirects


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/v2/chat/completions", "https://api.example.com/v2/chat/completions"),
        ("completions/", "https://api.example.com/v1/chat/completions/"),
        ("?x=1", "https://api.example.com/v1/chat/completions?x=1"),
        ("https://api.example.com/v2", "https://api.example.com/v2"),
        ("https://API.Example.com/v2", "https://api.example.com/v2"),
        ("https://api.example.com:443/v2", "https://api.example.com/v2"),
        ("//api.example.com/v2", "https://api.example.com/v2"),
        ("HTTPS://api.example.com/v2", "https://api.example.com/v2"),
    ],
)
def test_a_request_goes_where_the_same_host_says(status, location, target):
    url = redirected(status, URL, {"location": location}, (), 0)
    assert url is not None
    assert url.replace(":443", "").replace("API.Example", "api.example").replace("HTTPS", "https") == target
    assert url.startswith("https://")


@pytest.mark.parametrize("status", [200, 300, 301, 302, 303, 304, 305, 400, 500])
def test_other_statuses_move_nothing(status):
    assert redirected(status, URL, {"location": "/v2"}, (), 0) is None


@pytest.mark.parametrize("headers", [{}, {"location": ""}, {"location": "https://[::1"}])
def test_a_location_that_is_none(headers):
    assert redirected(307, URL, headers, (), 0) is None


ELSEWHERE = [
    "https://evil.example/v1",
    "https://example.com/v1",
    "https://api.example.com.evil.example/v1",
    "https://evilapi.example.com/v1",
    "https://api.example.com:8443/v1",
    "https://api.example.com:x/v1",
    "https://api.example.com:99999/v1",
    "//evil.example/v1",
    "http://api.example.com/v1",
    "http://api.example.com:443/v1",
    "ftp://api.example.com/v1",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "https:///v1",
    "https://",
    # What one parser of URLs takes for the host, and another for a user's name or a path.
    "https://evil.example\\@api.example.com/v1",
    "https://evil.example:80\\@api.example.com/v1",
    "https:\\\\evil.example/v1",
    "https:/\\evil.example/v1",
    "/\\evil.example/v1",
    "\\\\evil.example/v1",
    "https:evil.example",
    "https:/evil.example",
    "https://api.example.com@evil.example/v1",
    "https://api.example.com%00.evil.example/v1",
    "https://api.example.com%2eevil.example/v1",
    "https://api.example.com;evil.example/v1",
    "https://evil.example#@api.example.com/v1",
    "https://evil.example?@api.example.com/v1",
    "ht\ntps://evil.example/",
    " https://evil.example/",
    "https://evil.example\t@api.example.com/",
    "https://user:word@api.example.com/v1",
]


@pytest.mark.parametrize("location", ELSEWHERE)
def test_no_key_goes_to_another_host(location):
    try:
        url = redirected(307, URL, {"location": location}, (), 0)
    except LimitError as error:
        assert "evil" not in str(error)  # noqa: PT017  # other locations lead nowhere
        assert "limits=polycall.Limits(hosts=...)" in str(error)  # noqa: PT017
        return
    assert url is None or url.startswith("https://api.example.com/")
    assert url is None or "\\" not in url


def test_a_host_that_is_allowed():
    hosts = frozenset({"other.example.com"})
    assert redirected(308, URL, {"location": "https://other.example.com/x"}, hosts, 0) == "https://other.example.com/x"
    with pytest.raises(LimitError):
        redirected(308, URL, {"location": "http://other.example.com/x"}, hosts, 0)
    with pytest.raises(LimitError):
        redirected(308, URL, {"location": "https://an.other.example.com/x"}, hosts, 0)


def test_from_http_to_https_and_not_back():
    assert redirected(307, "http://h/v1", {"location": "https://h/v1"}, (), 0) == "https://h/v1"
    with pytest.raises(LimitError):
        redirected(307, "https://h/v1", {"location": "http://h/v1"}, (), 0)


def test_circles_end():
    for moves in range(3):
        assert redirected(307, URL, {"location": "/x"}, (), moves)
    with pytest.raises(TransportError, match="redirects in circles") as caught:
        redirected(307, URL, {"location": "/x"}, (), 3)
    assert caught.value.status == 307
    assert not caught.value.transient
