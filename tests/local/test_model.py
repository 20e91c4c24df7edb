"""`LocalModel` with the real model: what it answers, and that it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from polycall.errors import TransportError, UsageError
from polycall.local import LocalModel

QUESTION = "What is the weather in Oslo and in Rome?"


def arguments_of(document):
    return [json.loads(call["function"]["arguments"]) for call in document["choices"][0]["message"]["tool_calls"]]


def is_idle(model):
    deadline = time.monotonic() + 5
    while model._loaded._running and time.monotonic() < deadline:
        time.sleep(0.01)
    return not model._loaded._running


def test_one_request_gives_several_calls(model, ask, weather):
    (document,) = model.complete(ask(QUESTION, tools=[weather]), stream=False)
    assert [arguments["location"] for arguments in arguments_of(document)] == ["Oslo", "Rome"]
    assert document["object"] == "chat.completion"
    assert document["choices"][0]["finish_reason"] == "tool_calls"
    assert document["usage"]["completion_tokens"] > 10
    assert str(Path.home()) not in json.dumps(document)


def test_the_stream_adds_up_to_the_whole_answer(model, ask, weather):
    (whole,) = model.complete(ask(QUESTION, tools=[weather]), stream=False)
    pieces = {}
    for chunk in model.complete(ask(QUESTION, tools=[weather]), stream=True):
        assert chunk["object"] == "chat.completion.chunk"
        for call in chunk["choices"][0]["delta"].get("tool_calls", ()):
            pieces[call["index"]] = pieces.get(call["index"], "") + call["function"]["arguments"]
    assert [json.loads(text) for text in pieces.values()] == arguments_of(whole)


def test_the_same_question_has_the_same_answer(model, ask, weather):
    answers = [arguments_of(next(model.complete(ask(QUESTION, tools=[weather]), stream=False))) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]


def test_deltas_come_while_the_model_still_writes(model, ask, weather):
    times = [time.monotonic() for _ in model.complete(ask(QUESTION, tools=[weather]), stream=True)]
    assert len(times) > 10
    assert times[-1] - times[len(times) // 2] > 0.05


def test_text_without_tools(model, ask):
    (document,) = model.complete(ask("Hello!", max_tokens=5, ignore_eos=True), stream=False)
    assert document["usage"]["completion_tokens"] == 5
    assert document["choices"][0]["finish_reason"] == "length"
    assert isinstance(document["choices"][0]["message"]["content"], str)


@pytest.mark.parametrize("stream", [True, False])
def test_closing_cancels_also_what_nobody_reads(model, endless, stream):
    answer = model.complete(endless, stream=stream)
    time.sleep(0.3)
    assert model._loaded._running
    answer.close()
    assert is_idle(model)
    assert list(answer) == []


@pytest.mark.parametrize("stream", [True, False])
def test_forgetting_the_answer_cancels_it(model, endless, stream):
    answer = model.complete(endless, stream=stream)
    del answer
    assert is_idle(model)


def test_a_long_prompt_is_cancelled_while_it_is_read(model, ask):
    answer = model.complete(ask("word " * 3800), stream=False)
    time.sleep(0.3)
    answer.close()
    assert is_idle(model)


def test_closing_wakes_a_reader_in_another_thread(model, endless):
    answer = model.complete(endless, stream=False)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(list, answer)
        time.sleep(0.2)
        answer.close()
        assert reader.result(timeout=5) == []


def test_requests_run_side_by_side(model, ask):
    together = threading.Barrier(3, timeout=20)

    def read():
        with model.complete(ask("Count.", max_tokens=40, ignore_eos=True), stream=True) as answer:
            next(answer)
            together.wait()  # passes only while all three are being generated
            return len(list(answer))

    with ThreadPoolExecutor(3) as pool:
        assert all(future.result() > 20 for future in [pool.submit(read) for _ in range(3)])


def test_more_requests_than_slots_all_get_their_answer(model, ask):
    with ThreadPoolExecutor(9) as pool:
        bodies = [ask(f"Say {number}.", max_tokens=10, ignore_eos=True) for number in range(9)]
        answers = list(pool.map(lambda body: next(model.complete(body, stream=False)), bodies))
    assert [answer["usage"]["completion_tokens"] for answer in answers] == [10] * 9


@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt_too_long_says_so_without_the_prompt(model, ask, stream):
    with pytest.raises(TransportError, match=r"4096.*raise `context`") as caught:
        list(model.complete(ask("secret " * 5000), stream=stream))
    assert "secret" not in str(caught.value)
    assert caught.value.status == 400


def test_a_refused_request_keeps_the_prompt_out_of_the_message(model):
    body = json.dumps({"messages": [{"role": "secret"}]}).encode()
    with pytest.raises(TransportError, match=r"llama\.cpp refused the request") as caught:
        list(model.complete(body, stream=True))
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"{", b"\xff"])
def test_a_body_that_is_no_object_is_a_usage_error(model, body):
    with pytest.raises(UsageError, match="JSON object"):
        model.complete(body, stream=False)


def test_a_conversation_with_broken_arguments_can_be_continued(model, weather):
    call = {"id": "a", "type": "function", "function": {"name": "Weather", "arguments": '{"location": "Os'}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "the arguments were cut off"},
    ]
    body = json.dumps({"messages": messages, "tools": [weather], "tool_choice": "required"}).encode()
    (document,) = model.complete(body, stream=False)
    assert document["choices"][0]["message"]["tool_calls"]


def test_close_tells_the_reader_and_refuses_new_requests(weights, endless):
    model = LocalModel(weights, parallel=1, context=512)
    answer = model.complete(endless, stream=True)
    next(answer)
    model.close()
    model.close()
    with pytest.raises(TransportError, match="closed before the answer was complete"):
        list(answer)
    with pytest.raises(UsageError, match="closed"):
        model.complete(endless, stream=True)
    assert not [thread for thread in threading.enumerate() if thread.name == "polycall-local" and thread.is_alive()]


def test_a_model_that_is_closed_at_once_does_not_hang(weights):
    for _ in range(5):
        with LocalModel(weights, parallel=1, context=256) as model:
            model.load()


def test_many_threads_load_it_once(weights, ask):
    model = LocalModel(weights, context=256)
    with model, ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(model._ready) for _ in range(6)]:
            assert future.result() is model._loaded


def test_loading_leaves_the_signal_handlers_alone(model):
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_any_other_gguf_by_its_path(weights, ask, tmp_path, weather):
    other = tmp_path / "other.gguf"
    data = weights.read_bytes()
    other.write_bytes(data.replace(b"general.name", b"general.nome", 1))
    with LocalModel(other, parallel=1, context=1024) as model:
        body = ask(QUESTION, tools=[weather], tool_choice="required", max_tokens=60)
        (document,) = model.complete(body, stream=False)
    # Its own template knows no tools, so it gets ours, but not the adapter: it still has to call what was offered.
    assert document["model"] == "other"
    assert document["choices"][0]["finish_reason"] in {"tool_calls", "length"}


def test_a_file_that_is_no_model(tmp_path):
    pytest.importorskip("xllamacpp")
    file = tmp_path / "notes.gguf"
    file.write_text("hello")
    with pytest.raises(UsageError, match=r"cannot load .*notes\.gguf"):
        LocalModel(file).load()


@pytest.mark.parametrize("option", ["parallel", "context", "threads", "max_tokens"])
def test_numbers_below_one_are_refused(option):
    with pytest.raises(UsageError, match="at least 1"):
        LocalModel(**{option: 0})


RUNNING = """
import sys, threading
from polycall.local import LocalModel
model = LocalModel(sys.argv[1])
body = b'{"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 3000, "ignore_eos": true}'
answer = model.complete(body, stream=True)
unread = model.complete(body, stream=False)
next(answer)
"""


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError", 1),
        ("threading.Thread(target=list, args=(answer,), daemon=True).start()", 0),
        ("import multiprocessing; multiprocessing.get_context('fork').Pool(1).map(abs, [1])", 0),
    ],
)
def test_the_interpreter_ends_while_the_model_writes(weights, ending, status):
    if "fork" in ending and sys.platform == "win32":
        pytest.skip("Windows has no fork")
    program = [sys.executable, "-c", RUNNING + ending, str(weights)]
    environment = os.environ | {"PYTHONPATH": _source()}
    done = subprocess.run(program, timeout=60, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == status, done.stderr


def _source():
    import polycall

    return str(Path(polycall.__file__).parent.parent)
