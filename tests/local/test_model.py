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
from polycall.local._engine import _cores

QUESTION = "What is the weather in Oslo and in Rome?"


def arguments_of(document):
    return [json.loads(call["function"]["arguments"]) for call in document["choices"][0]["message"]["tool_calls"]]


def is_idle(model):
    deadline = time.monotonic() + 30  # on a busy machine
    while model._loaded._running and time.monotonic() < deadline:
        time.sleep(0.01)
    return not model._loaded._running


def test_one_request_gives_several_calls(whole, ask, weather):
    document = whole(ask(QUESTION, tools=[weather]))
    assert [arguments["location"] for arguments in arguments_of(document)] == ["Oslo", "Rome"]
    assert document["object"] == "chat.completion"
    assert document["choices"][0]["finish_reason"] == "tool_calls"
    assert document["usage"]["completion_tokens"] > 10
    assert str(Path.home()) not in json.dumps(document)


def test_every_document_is_a_chunk_and_the_last_one_has_the_usage(model, ask, weather):
    *chunks, last = model.complete(ask(QUESTION, tools=[weather], stream=False, stream_options={"include_usage": False}))
    assert {chunk["object"] for chunk in [*chunks, last]} == {"chat.completion.chunk"}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:]] == [None, "tool_calls"]
    assert (last["choices"], last["usage"]["completion_tokens"] > 10) == ([], True)


def test_the_same_question_has_the_same_answer(whole, ask, weather):
    answers = [arguments_of(whole(ask(QUESTION, tools=[weather]))) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]


def test_deltas_come_while_the_model_still_writes(model, ask, weather):
    times = [time.monotonic() for _ in model.complete(ask(QUESTION, tools=[weather]))]
    assert len(times) > 10
    assert times[-1] - times[len(times) // 2] > 0.05


def test_text_without_tools(whole, ask):
    document = whole(ask("Hello!", max_tokens=5, ignore_eos=True))
    assert document["usage"]["completion_tokens"] == 5
    assert document["choices"][0]["finish_reason"] == "length"
    assert isinstance(document["choices"][0]["message"]["content"], str)


def test_closing_cancels_also_what_nobody_reads(model, endless):
    answer = model.complete(endless)
    time.sleep(0.3)
    assert model._loaded._running
    answer.close()
    assert is_idle(model)


def test_forgetting_the_answer_cancels_it(model, endless):
    answer = model.complete(endless)
    next(answer)
    del answer
    assert is_idle(model)


def test_a_long_prompt_is_cancelled_while_it_is_read(model, ask):
    answer = model.complete(ask("word " * 3800))
    time.sleep(0.3)
    answer.close()
    assert is_idle(model)


def test_closing_wakes_a_reader_in_another_thread_and_says_that_the_answer_is_not_whole(model, endless):
    answer = model.complete(endless)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(list, answer)
        time.sleep(0.2)
        answer.close()
        with pytest.raises(TransportError, match="closed before it was read to its end"):
            reader.result(timeout=5)


def test_closing_an_answer_that_was_read_changes_nothing(model, ask):
    with model.complete(ask("Hello!", max_tokens=2)) as answer:
        assert list(answer)
    assert list(answer) == []


def test_requests_run_side_by_side(model, ask):
    together = threading.Barrier(3, timeout=20)

    def read():
        with model.complete(ask("Count.", max_tokens=40, ignore_eos=True)) as answer:
            next(answer)
            together.wait()  # passes only while all three are being generated
            return len(list(answer))

    with ThreadPoolExecutor(3) as pool:
        assert all(future.result() > 20 for future in [pool.submit(read) for _ in range(3)])


def test_more_requests_than_slots_all_get_their_answer(whole, ask):
    with ThreadPoolExecutor(9) as pool:
        bodies = [ask(f"Say {number}.", max_tokens=10, ignore_eos=True) for number in range(9)]
        answers = list(pool.map(whole, bodies))
    assert [answer["usage"]["completion_tokens"] for answer in answers] == [10] * 9


def test_a_prompt_too_long_says_so_without_the_prompt(model, ask):
    with pytest.raises(TransportError, match=r"4096.*raise `context`") as caught:
        list(model.complete(ask("secret " * 5000)))
    assert "secret" not in str(caught.value)
    assert caught.value.status == 400


def test_a_refused_request_keeps_the_prompt_out_of_the_message(model):
    body = json.dumps({"messages": [{"role": "secret"}]}).encode()
    with pytest.raises(TransportError, match=r"llama\.cpp refused the request") as caught:
        list(model.complete(body))
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"{", b"\xff"])
def test_a_body_that_is_no_object_is_a_usage_error(body):
    with pytest.raises(UsageError, match="JSON object"):
        LocalModel().complete(body)


def test_a_conversation_with_broken_arguments_can_be_continued(whole, weather):
    call = {"id": "a", "type": "function", "function": {"name": "Weather", "arguments": '{"location": "Os'}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "the arguments were cut off"},
    ]
    document = whole(json.dumps({"messages": messages, "tools": [weather], "tool_choice": "required"}).encode())
    assert document["choices"][0]["message"]["tool_calls"]


def test_arguments_that_are_no_text_are_left_to_llama_cpp(whole, weather):
    call = {"id": "b", "type": "function", "function": {"name": "Weather", "arguments": {"location": "Rome"}}}
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    messages.append({"role": "tool", "tool_call_id": "b", "content": "rain"})
    document = whole(json.dumps({"messages": messages, "tools": [weather], "max_tokens": 3}).encode())
    assert document["usage"]["prompt_tokens"] > 20


def test_a_request_that_comes_while_it_is_closed_is_refused(weights):
    model = LocalModel(weights, parallel=1, context=256)
    loaded = model._ready()
    model.close()
    with pytest.raises(UsageError, match="closed"):
        loaded.start({"messages": []})


def test_close_tells_the_reader_and_refuses_new_requests(weights, endless):
    model = LocalModel(weights, parallel=1, context=512)
    answer = model.complete(endless)
    next(answer)
    model.close()
    model.close()
    with pytest.raises(TransportError, match="closed before the answer was complete"):
        list(answer)
    with pytest.raises(UsageError, match="closed"):
        model.complete(endless)
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


def test_loading_leaves_the_signal_handlers_alone(weights):
    watched = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(one) for one in watched]
    with LocalModel(weights, parallel=1, context=256) as model:
        model.load()
        assert [signal.getsignal(one) for one in watched] == before


def test_any_other_gguf_by_its_path(weights, whole, ask, tmp_path, weather):
    other = tmp_path / "other.gguf"
    data = weights.read_bytes()
    other.write_bytes(data.replace(b"general.name", b"general.nome", 1))
    with LocalModel(other, parallel=1, context=1024) as model:
        body = ask(QUESTION, tools=[weather], tool_choice="required", max_tokens=60)
        document = whole(body, of=model)
    # Its own template knows no tools, so it gets ours, but not the adapter: it still has to call what was offered.
    assert document["model"] == "other"
    assert document["choices"][0]["finish_reason"] in {"tool_calls", "length"}


def with_template(weights, path, template):
    """Write the model with another chat template, as long as its own."""
    data = weights.read_bytes()
    begin = data.index(b"{% for message in messages %}")
    end = data.index(b"assistant\n' }}{% endif %}", begin) + len(b"assistant\n' }}{% endif %}")
    path.write_bytes(data[:begin] + template.ljust(end - begin).encode() + data[end:])
    return path


MESSAGES = "{% for message in messages %}[{{ message.role }}] {{ message.content }}{% endfor %}"
TOOLS = "{% for tool in tools or [] %}{{ tool.function.name }}{% endfor %}"


def test_a_template_that_knows_tools_is_kept(weights, whole, ask, tmp_path, weather):
    other = with_template(weights, tmp_path / "other.gguf", TOOLS + MESSAGES)
    with LocalModel(other, parallel=1, context=1024) as model:
        usage = whole(ask("Hi", max_tokens=1, tools=[weather]), of=model)["usage"]
    assert usage["prompt_tokens"] < 20  # with our own template they are more than 50


def test_a_template_without_tools_that_is_not_like_ours_is_refused(weights, tmp_path):
    other = with_template(weights, tmp_path / "other.gguf", MESSAGES)
    with pytest.raises(UsageError, match=r"other\.gguf has a chat template without tools"):
        LocalModel(other, parallel=1, context=256).load()


def test_threads_where_the_system_does_not_tell_which_cores_are_ours(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for count, cores in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert _cores() == cores


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
answer = model.complete(body)
unread = model.complete(body)
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


FORKED = """
import os, sys
from polycall.local import LocalModel
model = LocalModel(sys.argv[1], parallel=1, context=256)
body = b'{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}'
before = list(model.complete(body))
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
if sys.argv[2] == "close":
    model.close()
os._exit(0 if sys.argv[2] == "close" or len(list(model.complete(body))) == len(before) else 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("use", ["close", "complete"])
def test_a_forked_process_frees_nothing_of_its_parent_and_loads_it_anew(weights, use):
    environment = os.environ | {"PYTHONPATH": _source()}
    program = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, str(weights), use]
    done = subprocess.run(program, timeout=60, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


def _source():
    import polycall

    return str(Path(polycall.__file__).parent.parent)
