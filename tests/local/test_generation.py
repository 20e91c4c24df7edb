"""What becomes of llama.cpp's words, and of a reader who is left behind; a stand-in writes the words."""

from __future__ import annotations

import json
import threading

import pytest

from polycall.errors import TransportError
from polycall.local._generation import Answer, Generation


def answered(*texts, raising=None, cancelled=None):
    """Return the reader of a generation that has given all it had, and what it was asked."""
    asked = []

    def generate(request, receive):
        asked.append(json.loads(request))
        for text in texts:
            if receive(text):
                return
        if raising is not None:
            raise raising

    done = threading.Event()
    generation = Generation(generate, {"messages": []}, lambda _: done.set())
    if cancelled:
        generation.cancel(cancelled)
    generation.start()
    assert done.wait(5)
    assert generation.join(5)
    return Answer(generation), asked


def test_documents_come_in_order_without_the_progress_of_the_prompt():
    answer, asked = answered('{"prompt_progress": {"total": 9}}', '{"choices": [1]}', '{"choices": [2]}')
    assert list(answer) == [{"choices": [1]}, {"choices": [2]}]
    assert asked == [{"messages": []}]


SAYS = [
    ("not JSON", "something that is not JSON", None, "not JSON"),
    ("[1]", r"refused the request \(None\)", None, "[1]"),
    ('{"error": "secret"}', r"refused the request \(None\)", None, '{"error": "secret"}'),
    ('{"error": {"type": "server_error", "code": 500, "message": "secret"}}', r"\(server_error\)", 500, None),
    ('{"error": {"type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 4}}', "has 9 tokens.*takes 4", 400, None),
]


@pytest.mark.parametrize(("text", "said", "status", "body"), SAYS)
def test_what_is_no_chunk_ends_the_answer_with_an_error_behind_the_good_ones(text, said, status, body):
    answer, _ = answered('{"choices": [1]}', text, '{"choices": [2]}')
    assert next(answer) == {"choices": [1]}
    with pytest.raises(TransportError, match=said) as caught:
        next(answer)
    assert "secret" not in str(caught.value)
    assert caught.value.status == status
    assert body is None or caught.value.body == body


def test_an_exception_of_llama_cpp_is_named_without_its_words():
    answer, _ = answered('{"choices": [1]}', raising=RuntimeError("secret"))
    assert next(answer) == {"choices": [1]}
    with pytest.raises(TransportError, match=r"refused the request \(RuntimeError\)") as caught:
        next(answer)
    assert "secret" not in str(caught.value)
    assert caught.value.body == "secret"


def test_what_is_cancelled_before_it_starts_is_not_generated():
    answer, asked = answered('{"choices": [1]}', cancelled="because")
    with pytest.raises(TransportError, match="because"):
        next(answer)
    assert asked == []


def test_the_first_reason_is_the_one_that_is_told():
    answer, _ = answered('{"choices": [1]}', cancelled="because")
    answer.close()
    with pytest.raises(TransportError, match="because"):
        list(answer)
