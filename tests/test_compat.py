"""What programs written for Instructor use: modes, hooks and the paths to the methods."""

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

import polycall
from polycall import CallErrors, Client, InvalidArgumentsError, Mode, TransportError, UnknownToolError, UsageError
from support import chat
from support.loopback import Answer, Server

HOOKS = ["completion:kwargs", "completion:response", "completion:error", "completion:last_attempt", "parse:error", "attempt"]


class Weather(BaseModel):
    city: str


GOOD = chat.entry("Weather", '{"city": "Oslo"}', id="c1")
BAD = chat.entry("Weather", '{"city": 1}', id="c2")
UNKNOWN = chat.entry("Nope", "{}", id="c3")


def whole(*entries: dict[str, Any]) -> Answer:
    return Answer(chat.body(chat.whole(*entries)))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        server.answer = whole(GOOD)
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with openai.OpenAI(api_key="k", base_url=server.url, max_retries=0) as sdk:
        yield polycall.from_openai(sdk, mode=Mode.PARALLEL_TOOLS, model="m")


@pytest.fixture
def heard(client: Client) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Everything that the five hooks are told, in order."""
    told: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    for name in HOOKS:
        client.on(name, lambda *args, name=name, **kwargs: told.append((name, args, kwargs)))
    return told


# ---------------------------------------------------------------------------------------------------------------- paths


def test_every_path_leads_to_the_client(client):
    assert client.chat is client.completions is client.messages is client
    assert client.chat.completions is client
    assert client.chat.completions.create("?", response_model=Iterable[Weather])[0].city == "Oslo"
    assert client.messages.create("?", response_model=Iterable[Weather])[0].city == "Oslo"


def test_messages_by_name(client, server):
    calls = client.chat.completions.create(
        model="gpt", messages=[{"role": "user", "content": "?"}], response_model=Iterable[Weather], max_retries=2
    )
    assert [fc.city for fc in calls] == ["Oslo"]
    assert server.last["model"] == "gpt"


# ---------------------------------------------------------------------------------------------------------------- modes


@pytest.mark.parametrize("mode", [None, *Mode])
def test_a_mode_changes_nothing(server, mode):
    with openai.OpenAI(api_key="k", base_url=server.url) as sdk:
        with_mode = polycall.from_openai(sdk, mode=mode, model="m") if fits(mode) else None
        without = polycall.from_openai(sdk, model="m")
        if with_mode is not None:
            arguments = {"messages": "?", "response_model": Iterable[Weather]}
            assert with_mode.payload(**arguments) == without.payload(**arguments)


def fits(mode: Mode | None) -> bool:
    return mode is None or mode in {Mode.TOOLS, Mode.TOOLS_STRICT, Mode.PARALLEL_TOOLS}


@pytest.mark.parametrize("mode", ["parallel_tool_call", "PARALLEL_TOOLS", 5, True, Mode, openai])
def test_what_is_no_mode(server, mode):
    with openai.OpenAI(api_key="k", base_url=server.url) as sdk, pytest.raises(UsageError, match="leave it out"):
        polycall.from_openai(sdk, mode=mode)


def test_a_mode_that_does_not_fit():
    from polycall.compat import check_mode

    with pytest.raises(UsageError, match=r"does not fit a client of anthropic: leave it out"):
        check_mode(Mode.PARALLEL_TOOLS, "anthropic")
    check_mode(None, "anthropic")


def test_modes_have_instructors_values():
    assert (Mode.TOOLS, Mode.TOOLS_STRICT, Mode.PARALLEL_TOOLS) == ("tool_call", "tools_strict", "parallel_tool_call")


# ---------------------------------------------------------------------------------------------------------------- hooks


def test_hooks_of_a_good_answer(client, server, heard):
    calls = client.create("?", response_model=Iterable[Weather], extra_headers={"x-mine": "1"})
    assert [name for name, _, _ in heard] == ["completion:kwargs", "completion:response", "attempt"]
    (_, args, kwargs), (_, (response,), none), (_, (attempt,), _) = heard
    assert attempt == calls.attempts[0]
    assert args == ()
    assert {**kwargs, "extra_headers": None} == {**server.last, "extra_headers": None}
    assert kwargs["extra_headers"] == {"x-mine": "1"}
    assert response is calls.response
    assert none == {}


def test_hooks_of_bad_calls(client, server, heard):
    server.answer = whole(BAD, GOOD, UNKNOWN)
    with pytest.raises(CallErrors) as caught:
        client.create("?", response_model=Iterable[Weather], max_retries=0)
    named: dict[str, list[Any]] = {}
    for name, args, _ in heard:
        named.setdefault(name, []).append(args[0] if args else None)
    assert named.keys() == {"completion:kwargs", "completion:response", "parse:error", "attempt", "completion:last_attempt"}
    assert [type(error) for error in named["parse:error"]] == [InvalidArgumentsError, UnknownToolError]
    assert named["completion:last_attempt"] == [caught.value]


def test_hooks_of_an_error_of_the_sdk(client, server, heard):
    server.answer = Answer(b'{"error": {"message": "no"}}', status=400)
    with pytest.raises(openai.BadRequestError) as caught:
        client.create("?", response_model=Iterable[Weather])
    assert [(name, args) for name, args, _ in heard[1:]] == [("completion:error", (caught.value,))]


def test_hooks_of_an_answer_that_is_none(client, server, heard):
    server.answer = Answer(b"<html>", content_type="text/html")
    with pytest.raises(TransportError) as caught:
        client.create("?", response_model=Iterable[Weather])
    assert [(name, args) for name, args, _ in heard[1:]] == [("completion:error", (caught.value,))]


def test_hooks_of_a_stream(client, server, heard):
    server.answer = Answer(chat.streamed([GOOD]), content_type="text/event-stream")
    stream = client.stream("?", response_model=Iterable[Weather])
    assert heard == []
    calls = stream.result()
    assert [name for name, _, _ in heard] == ["completion:kwargs", "completion:response", "attempt"]
    assert heard[1][1][0] is calls.response


async def test_hooks_of_an_async_client(server):
    heard: list[Any] = []
    async with openai.AsyncOpenAI(api_key="k", base_url=server.url, max_retries=0) as sdk:
        client = polycall.from_openai(sdk, model="m")
        client.on("completion:kwargs", lambda **kwargs: heard.append(kwargs["model"]))
        client.on("completion:response", heard.append)
        calls = await client.create("?", response_model=Iterable[Weather])
    assert heard == ["m", calls.response]


def test_several_handlers_are_called_in_order_until_taken_out(client):
    heard: list[str] = []

    def first(**kwargs: Any) -> None:
        heard.append("first")

    def second(**kwargs: Any) -> None:
        heard.append("second")

    def ask() -> list[str]:
        heard.clear()
        client.create("?", response_model=Iterable[Weather])
        return list(heard)

    client.on("completion:kwargs", first)
    client.on("completion:kwargs", second)
    client.on("completion:kwargs", first)
    assert ask() == ["first", "second", "first"]
    client.off("completion:kwargs", first)
    assert sorted(ask()) == ["first", "second"]
    client.off("completion:kwargs", first)
    client.off("completion:kwargs", first)
    client.off("parse:error", first)
    assert ask() == ["second"]
    client.clear("parse:error")
    assert ask() == ["second"]
    client.clear("completion:kwargs")
    assert ask() == []
    client.on("completion:kwargs", first)
    client.clear()
    assert ask() == []


def test_a_handler_may_take_itself_out(client):
    heard: list[int] = []

    def once(**kwargs: Any) -> None:
        heard.append(1)
        client.off("completion:kwargs", once)

    client.on("completion:kwargs", once)
    client.on("completion:kwargs", lambda **kwargs: heard.append(2))
    for _ in range(2):
        client.create("?", response_model=Iterable[Weather])
    assert heard == [1, 2, 2]


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_that_fails_is_a_warning_and_changes_nothing(client, server, name):
    heard: list[int] = []

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("secret7391")

    client.on(name, fail)
    client.on(name, lambda *args, **kwargs: heard.append(1))
    server.answer = Answer(b"{}", status=400) if name == "completion:error" else whole(GOOD, BAD)
    expected = openai.BadRequestError if name == "completion:error" else CallErrors
    with pytest.warns(RuntimeWarning, match=f"the hook for '{name}' failed: ZeroDivisionError") as caught:  # noqa: SIM117
        with pytest.raises(expected):
            client.create("?", response_model=Iterable[Weather], max_retries=0)
    assert "secret7391" not in str(caught[0].message)
    assert heard == [1]


@pytest.mark.parametrize("method", ["on", "off", "clear"])
def test_a_hook_that_there_is_not(client, method):
    with pytest.raises(UsageError) as caught:
        getattr(client, method)("completion:args", *([print] if method != "clear" else []))
    assert str(caught.value) == f"there is no hook 'completion:args': there are {', '.join(HOOKS)}"


def test_a_handler_that_cannot_be_called_is_refused(client):
    async def later(**_: object) -> None: ...

    for handler in "print", later:
        with pytest.raises(UsageError, match="plain function"):
            client.on("completion:kwargs", handler)


def test_hooks_belong_to_one_client(server):
    heard: list[Any] = []
    with openai.OpenAI(api_key="k", base_url=server.url, max_retries=0) as sdk:
        one, other = polycall.from_openai(sdk, model="m"), polycall.from_openai(sdk, model="m")
        one.on("completion:kwargs", lambda **kwargs: heard.append(kwargs))
        other.create("?", response_model=Iterable[Weather])
        assert heard == []
        one.create("?", response_model=Iterable[Weather])
    assert len(heard) == 1


def test_what_a_hook_does_to_its_arguments_is_not_sent_and_not_kept(client, server):
    def spoil(**kwargs: Any) -> None:
        kwargs["tools"][0]["function"]["parameters"].clear()
        kwargs["tools"].clear()
        kwargs["messages"].clear()

    before = copy.deepcopy(client.payload("?", response_model=Iterable[Weather]))
    client.on("completion:kwargs", spoil)
    client.create("?", response_model=Iterable[Weather])
    client.clear()
    client.create("?", response_model=Iterable[Weather])
    assert [sent.body for sent in server.requests] == [before, before]


def test_a_response_is_made_only_for_those_who_listen(server):
    import polycall.compat

    made: list[int] = []
    hooks = polycall.compat.Hooks()
    hooks.tell("completion:response", lambda: made.append(1))
    assert made == []
    hooks.on("completion:response", lambda response: None)
    hooks.tell("completion:response", lambda: made.append(1))
    assert made == [1]


def test_used_under_instructors_name(server):
    import polycall as instructor

    with openai.OpenAI(api_key="k", base_url=server.url) as sdk:
        client = instructor.from_openai(sdk, mode=instructor.Mode.PARALLEL_TOOLS)
        function_calls = client.chat.completions.create(
            model="gpt-4o-mini",
            messages=[
                {"role": "system", "content": "You must always use tools"},
                {"role": "user", "content": "What is the weather in Oslo?"},
            ],
            response_model=Iterable[Weather],
        )
    assert [fc.city for fc in function_calls] == ["Oslo"]
