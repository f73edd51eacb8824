#!/usr/bin/env python3
"""What another wire format costs beside chat completions: processor time per request and per chunk, translation alone.

    translation.py [--json]

The smallest of many rounds is printed, in microseconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from podium.services.translation.fields import read_object, write
from podium.services.translation.messages_request import read_messages
from podium.services.translation.messages_stream import MessageStream
from podium.services.translation.responses_answer import response
from podium.services.translation.responses_request import read_responses
from podium.services.translation.responses_stream import ResponseStream

COUNT, ROUNDS = 500, 30
QUESTION = "Describe how a fox and a dog walk home in the evening, please."
MESSAGES = {"model": "m@1", "max_tokens": 64, "messages": [{"role": "user", "content": QUESTION}]}
RESPONSES = {"model": "m@1", "max_output_tokens": 64, "input": QUESTION}
CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'


def smallest(work: Callable[[], object]) -> float:
    found = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time_ns()
        work()
        found = min(found, time.process_time_ns() - begun)
    return round(found / COUNT / 1000, 2)


def messages_request() -> None:
    body = write(MESSAGES)
    for _ in range(COUNT):
        write(read_messages(read_object(body)).chat)


def responses_request() -> None:
    body = write(RESPONSES)
    for _ in range(COUNT):
        order = read_responses(read_object(body))
        write(order.chat | {"messages": order.messages([])})


def messages_chunks() -> None:
    stream = MessageStream("msg_1", thinks=False, stops=frozenset())
    for _ in range(COUNT):
        stream.feed(CHUNK)
    stream.end()


def responses_chunks() -> None:
    stream = ResponseStream(response("resp_1", "m", 0, {}, store=True))
    for _ in range(COUNT):
        stream.feed(CHUNK)
    stream.end()


def main() -> None:
    works = (messages_request, responses_request, messages_chunks, responses_chunks)
    found = {work.__name__: smallest(work) for work in works}
    if "--json" in sys.argv:
        print(json.dumps(found))
        return
    for name, micros in found.items():
        print(f"{name.replace('_', ' '):20} {micros:6.2f} µs")


if __name__ == "__main__":
    main()
