"""A CoAP client made with aiocoap that sends the requests of its arguments.

Usage: aiocoap_client.py REQUEST...

Each REQUEST is a JSON object:

    method    "0.01"
    uri       "coap://[::1]:5683/text"
    payload   a text
    options   pairs of a number and a value in hexadecimal
    non       true for a Non-confirmable request
    wait      seconds to wait for the response
    send      instead of payload, the name of a file that has it
    save      the name of a file for the payload of the response
    block     size exponent of the blocks to begin with
    observe   how many values of the resource to wait for

For each a line of JSON is written, in the same order:

    code      "2.05"; missing if there was no response
    payload   a text
    location  path and query, as in a URI
    etag      in hexadecimal
    error     why there was no response
    links     targets and attributes, if the payload is in the link format
    steps     the messages that were logged: sent, type, code, mid, token

A request with observe has such a line for each value, when it has come, with code and payload only. When
the observation is over there is one with ended, and the script goes on until its standard input ends, so
that it answers what the server still sends.
"""

import asyncio
import json
import logging
import pathlib
import sys
import warnings

import aiocoap
from aiocoap import Code, Message
from aiocoap.numbers.contentformat import ContentFormat
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.util import linkformat


class Steps(logging.Handler):
    """Keeps the messages that aiocoap logs when it sends and receives them."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.steps = []

    def emit(self, record):
        direction = record.msg.split("%")[0].strip()
        if direction not in ("Sending message", "Incoming message"):
            return
        m = record.args[0]
        self.steps.append(
            {
                "sent": direction == "Sending message",
                "type": m.mtype.name,
                "code": m.code.dotted,
                "mid": m.mid,
                "token": m.token.hex(),
            }
        )


async def observe(request):
    context = await aiocoap.Context.create_client_context(transports=["udp6"])
    pending = context.request(Message(code=Code.GET, uri=request["uri"], observe=0))
    left = request["observe"]
    response = await pending.response
    show(response)
    async for response in pending.observation:
        show(response)
        left -= 1
        if left == 1:
            break
    pending.observation.cancel()
    print(json.dumps({"ended": True}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await context.shutdown()


def show(response):
    print(json.dumps({"code": response.code.dotted, "payload": response.payload.decode()}), flush=True)


async def exchange(number, request):
    name = f"coap.{number}"
    steps = Steps()
    logging.getLogger(name).addHandler(steps)
    context = await aiocoap.Context.create_client_context(loggername=name, transports=["udp6"])
    payload = request["payload"].encode()
    if "send" in request:
        payload = pathlib.Path(request["send"]).read_bytes()
    message = Message(
        code=Code(int(request["method"][2:])),
        uri=request["uri"],
        payload=payload,
        transport_tuning=aiocoap.Unreliable if request["non"] else aiocoap.Reliable,
    )
    for option, value in request["options"]:
        message.opt.add_option(OptionNumber(option).create_option(decode=bytes.fromhex(value)))
    if "block" in request and payload:
        message.opt.block1 = (0, False, request["block"])
    elif "block" in request:
        message.opt.block2 = (0, False, request["block"])
    result = {"steps": steps.steps}
    try:
        response = await asyncio.wait_for(context.request(message).response, request["wait"])
    except Exception as e:
        result["error"] = repr(e)
    else:
        result["code"] = response.code.dotted
        if "save" in request:
            pathlib.Path(request["save"]).write_bytes(response.payload)
        else:
            result["payload"] = response.payload.decode()
        if response.opt.content_format == ContentFormat.LINKFORMAT:
            result["links"] = links(response.payload.decode())
        result["etag"] = (response.opt.etag or b"").hex()
        if response.opt.location_path:
            result["location"] = "/" + "/".join(response.opt.location_path)
            if response.opt.location_query:
                result["location"] += "?" + "&".join(response.opt.location_query)
    await context.shutdown()
    return result


def links(text):
    """Reads a text with aiocoap's parser. A flag has no value."""
    return [
        {"target": link.href, "attributes": [[name, value or ""] for name, value in link.attr_pairs]}
        for link in linkformat.parse(text).links
    ]


async def main():
    warnings.simplefilter("ignore", DeprecationWarning)
    logging.basicConfig(level=logging.DEBUG)
    requests = [json.loads(a) for a in sys.argv[1:]]
    if requests[0].get("observe"):
        return await observe(requests[0])
    for result in await asyncio.gather(*(exchange(*r) for r in enumerate(requests))):
        print(json.dumps(result))


asyncio.run(main())
