"""A CoAP client made with aiocoap that sends the requests of its arguments.

Usage: aiocoap_client.py REQUEST...

Each REQUEST is a JSON object:

    method    "0.01"
    uri       "coap://[::1]:5683/text"
    payload   a text
    options   pairs of a number and a value in hexadecimal
    non       true for a Non-confirmable request
    wait      seconds to wait for the response

For each a line of JSON is written, in the same order:

    code      "2.05"; missing if there was no response
    payload   a text
    location  path and query, as in a URI
    etag      in hexadecimal
    error     why there was no response
    steps     the messages that were logged: sent, type, code, mid, token
"""

import asyncio
import json
import logging
import sys
import warnings

import aiocoap
from aiocoap import Code, Message
from aiocoap.numbers.optionnumbers import OptionNumber


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


async def exchange(number, request):
    name = f"coap.{number}"
    steps = Steps()
    logging.getLogger(name).addHandler(steps)
    context = await aiocoap.Context.create_client_context(loggername=name, transports=["udp6"])
    message = Message(
        code=Code(int(request["method"][2:])),
        uri=request["uri"],
        payload=request["payload"].encode(),
        transport_tuning=aiocoap.Unreliable if request["non"] else aiocoap.Reliable,
    )
    for option, value in request["options"]:
        message.opt.add_option(OptionNumber(option).create_option(decode=bytes.fromhex(value)))
    result = {"steps": steps.steps}
    try:
        response = await asyncio.wait_for(context.request(message).response, request["wait"])
    except Exception as e:
        result["error"] = repr(e)
    else:
        result["code"] = response.code.dotted
        result["payload"] = response.payload.decode()
        result["etag"] = (response.opt.etag or b"").hex()
        if response.opt.location_path:
            result["location"] = "/" + "/".join(response.opt.location_path)
            if response.opt.location_query:
                result["location"] += "?" + "&".join(response.opt.location_query)
    await context.shutdown()
    return result


async def main():
    warnings.simplefilter("ignore", DeprecationWarning)
    logging.basicConfig(level=logging.DEBUG)
    requests = [json.loads(a) for a in sys.argv[1:]]
    for result in await asyncio.gather(*(exchange(*r) for r in enumerate(requests))):
        print(json.dumps(result))


asyncio.run(main())
