"""A CoAP client made with CoAPthon3 that sends the requests of its arguments, one after the other.

Usage: coapthon_client.py REQUEST...

Requests and results are those of aiocoap_client.py, without options, location, links and steps.
Payloads are texts. An observation ends by a request.
"""

import json
import os
import pathlib
import sys
import threading
from queue import Empty
from urllib.parse import urlsplit

from coapthon import defines
from coapthon.client.helperclient import HelperClient
from coapthon.utils import generate_random_token


class Client(HelperClient):
    """A client whose receiving thread waits while a request is being sent.

    CoAPthon starts the retransmission of a request after it has sent it; if the response comes first and the receiving
    thread sends the next block, the request has no message ID at that moment, and the sending thread fails.
    """

    def __init__(self, server):
        super().__init__(server)
        self.sending = threading.Lock()
        receive = self.protocol._messageLayer.receive_response

        def receive_response(message):
            with self.sending:
                return receive(message)

        self.protocol._messageLayer.receive_response = receive_response

    def send(self, message):
        with self.sending:
            self.protocol.send_message(message)


def observe(request):
    uri = urlsplit(request["uri"])
    client = Client((uri.hostname, uri.port))
    token = generate_random_token(2)
    client.send(registration(client, uri.path, token, 0))
    for _ in range(request["observe"]):
        show(client.queue.get(timeout=request["wait"]))
    # HelperClient.cancel_observing rejects a notification that it has received long ago.
    client.send(registration(client, uri.path, token, 1))
    client.queue.get(timeout=request["wait"])
    print(json.dumps({"ended": True}), flush=True)
    sys.stdin.read()


def registration(client, path, token, value):
    message = client.mk_request(defines.Codes.GET, path)
    message.token = token
    message.observe = value
    return message


def show(response):
    print(json.dumps({"code": f"{response.code >> 5}.{response.code & 31:02}", "payload": response.payload}), flush=True)


def exchange(request):
    uri = urlsplit(request["uri"])
    client = Client((uri.hostname, uri.port))
    message = client.mk_request(defines.Codes.GET, uri.path)
    message.code = int(request["method"][2:])
    message.token = generate_random_token(2)
    if uri.query:
        message.uri_query = uri.query
    if request["non"]:
        message.type = defines.Types["NON"]
    payload = request["payload"]
    if "send" in request:
        payload = pathlib.Path(request["send"]).read_text()
    if payload:
        message.payload = payload
    if "block" in request:
        block = (0, 0, 1 << (request["block"] + 4))
        if payload:
            message.block1 = block
        else:
            message.block2 = block
    # HelperClient.send_request waits for ever for a separate response, since it has another message ID.
    client.send(message)
    try:
        response = client.queue.get(timeout=request["wait"])
    except Empty:
        return {"error": "no response"}
    if response is None:
        return {"error": "not acknowledged"}
    payload = response.payload or ""
    if isinstance(payload, str):
        payload = payload.encode()
    result = {"code": f"{response.code >> 5}.{response.code & 31:02}", "etag": b"".join(response.etag).hex()}
    if "save" in request:
        pathlib.Path(request["save"]).write_bytes(payload)
    else:
        result["payload"] = payload.decode()
    return result


for request in map(json.loads, sys.argv[1:]):
    if request.get("observe"):
        observe(request)
    else:
        print(json.dumps(exchange(request)), flush=True)
os._exit(0)  # without waiting for the threads of the clients
