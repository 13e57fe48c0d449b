"""A CoAP server made with CoAPthon3.

Usage: coapthon_server.py ADDRESS PORT

The resources are:

    /text, /store   GET, PUT, DELETE   what was put last
    /reversed       POST               the body backwards
    /long           GET                30 KB
    /slow           GET                answered when the request has been acknowledged
    /obs            GET, PUT           observable, changes with each PUT
    /obslong        GET, PUT           observable, what was put last a thousand times; no link leads there

Payloads are texts. It ends when its standard input ends, so it does not outlive the test that
started it.
"""

import logging
import os
import sys
import threading

from coapthon import defines
from coapthon.resources.resource import Resource
from coapthon.server.coap import CoAP


class Text(Resource):
    def __init__(self, name, observable=False, visible=True):
        super().__init__(name, observable=observable, visible=visible)
        self.payload = "hello"
        self.resource_type = name

    def render_GET(self, request):
        return self

    def render_PUT(self, request):
        self.payload = request.payload or ""
        return self

    def render_DELETE(self, request):
        return True


class Repeated(Text):
    def render_PUT(self, request):
        self.payload = request.payload * 1000
        return self


class Reversed(Resource):
    def __init__(self):
        super().__init__("reversed", observable=False)
        self.resource_type = "reversed"  # without attributes, CoAPthon3 writes a link that ends in a semicolon

    def render_POST_advanced(self, request, response):
        response.code = defines.Codes.CHANGED.number
        response.payload = request.payload[::-1]
        return self, response


class Slow(Resource):
    def __init__(self):
        super().__init__("slow", observable=False)
        self.resource_type = "slow"
        self.payload = "slow"

    def render_GET(self, request):
        return self, self.separate

    def separate(self, request):
        return self


def main():
    logging.basicConfig(level=logging.DEBUG)
    server = CoAP((sys.argv[1], int(sys.argv[2])))
    server.add_resource("text", Text("text"))
    server.add_resource("store", Text("store"))
    server.add_resource("obs", Text("observed", observable=True))
    server.add_resource("obslong", Repeated("repeated", observable=True, visible=False))
    server.add_resource("reversed", Reversed())
    server.add_resource("slow", Slow())
    long = Text("long")
    long.payload = "0123456789abcde" * 2000
    server.add_resource("long", long)
    threading.Thread(target=server.listen, daemon=True).start()
    sys.stdin.read()
    os._exit(0)  # without waiting for the threads of the server


main()
