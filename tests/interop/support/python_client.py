"""python-socketio, told what to do: a command per line on stdin, an answer or an event per line on stdout, all JSON.

A command is {"id", "client", "do", ...}. Its answer is {"id", "result"} or {"id", "error"}; what a client hears by itself
is {"client", "namespace", "event", "arguments"}. Bytes are written as {"$bytes": base64}. The end of stdin ends it all.
"""

import asyncio
import base64
import inspect
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import socketio

clients = {}
workers = {}
loop = asyncio.new_event_loop()
output = threading.Lock()


def main():
    threading.Thread(target=loop.run_forever, daemon=True).start()
    for line in sys.stdin.buffer:
        command = plain_to_bytes(json.loads(line))
        number, client, action = (command.pop(key) for key in ("id", "client", "do"))
        try:
            # Where there is no result yet, its callback writes it.
            if (result := ACTIONS[action](number, client, **command)) is not None:
                write(id=number, result=result)
        except Exception as error:
            write(id=number, error=f"{type(error).__name__}: {error}")
    # The threads of the clients would keep the process.
    os._exit(0)


def open_client(_number, client, url, kind, settings, options):
    """Makes a client that reports all it hears in `namespaces`, and connects it."""
    sio = clients[client] = getattr(socketio, kind)(handle_sigint=False, **settings)
    if kind == "Client":
        workers[client] = receive_in_order(sio.eio)
    for namespace in options.get("namespaces", ["/"]):
        listen(client, sio, namespace)
    settle(sio.connect(url, **options))
    return True


def reopen(_number, client, url, options):
    """Connects a client again that was put out, once it has ended all that belonged to its connection."""
    sio = clients[client]
    settle(sio.eio.wait())
    if client in workers:
        # It may be a message that disconnects it.
        workers[client].submit(int).result()
    while sio.eio.state != "disconnected":
        time.sleep(0.01)
    settle(sio.connect(url, **options))
    return True


def emit(number, client, event, arguments, namespace, ask):
    """Emits, and answers at once or, if it asks, with what the server acknowledges."""
    callback = (lambda *answer: write(id=number, result=list(answer))) if ask else None
    settle(clients[client].emit(event, tuple(arguments), namespace=namespace, callback=callback))
    return None if ask else True


def disconnect(_number, client):
    settle(clients[client].disconnect())
    return True


def describe(_number, client, namespace):
    sio = clients[client]
    return {"sid": sio.get_sid(namespace), "transport": sio.transport()}


ACTIONS = {
    "ready": lambda *_: True,
    "open": open_client,
    "reopen": reopen,
    "emit": emit,
    "disconnect": disconnect,
    "describe": describe,
}


def listen(client, sio, namespace):
    def report(event, *arguments):
        write(client=client, namespace=namespace, event=event, arguments=list(arguments))
        # The one event that is answered; a tuple is several arguments.
        return {"answer": list(arguments)} if event == "question" else None

    sio.on("*", report, namespace)
    # These three never reach the handler of all events.
    for event in ("connect", "disconnect", "connect_error"):
        sio.on(event, lambda *arguments, event=event: report(event, *arguments), namespace)


def receive_in_order(engine):
    """Messages go through one thread. By itself the client starts one for each, and these may overtake each other: an event
    the one before, an attachment even its packet."""
    worker = ThreadPoolExecutor(1)
    start = engine.start_background_task

    def start_background_task(target, *arguments, **keywords):
        starter = worker.submit if target == engine.handlers["message"] else start
        return starter(target, *arguments, **keywords)

    engine.start_background_task = start_background_task
    return worker


def settle(value):
    """What the clients of asyncio return has to be waited for; the others have waited already."""
    if inspect.isawaitable(value):
        return asyncio.run_coroutine_threadsafe(value, loop).result()
    return value


def write(**line):
    with output:
        print(json.dumps(bytes_to_plain(line)), flush=True)


def plain_to_bytes(value):
    if isinstance(value, dict):
        if "$bytes" in value:
            return base64.b64decode(value["$bytes"])
        return {key: plain_to_bytes(item) for key, item in value.items()}
    return [plain_to_bytes(item) for item in value] if isinstance(value, list) else value


def bytes_to_plain(value):
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: bytes_to_plain(item) for key, item in value.items()}
    return [bytes_to_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    main()
