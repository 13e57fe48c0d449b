"""A CoAP server made with aiocoap that has the resources of site_test.go.

Usage: aiocoap_server.py ADDRESS PORT

Besides it has these:

    /store      GET, PUT   what was put last
    /reversed   POST       the body backwards
    /obs        GET, PUT   observable, changes with each PUT

It ends when its standard input ends, so it does not outlive the test that started it.
Messages and errors are logged on standard error.
"""

import asyncio
import logging
import sys
from urllib.parse import quote

import aiocoap
from aiocoap import Code, Message, error, resource
from aiocoap.numbers.constants import TransportTuning

HELLO = b"hello"

# The critical options that this server understands: those of the URI, Accept, and those of blocks, which
# aiocoap looks after. A resource may understand more.
UNDERSTOOD = {3, 7, 11, 15, 17, 23, 27}
PROXY = {35, 39}
PRECONDITIONS = {1, 5}


class Resource(resource.Resource):
    """A resource that answers 4.02 to critical options that it does not understand.

    aiocoap leaves that to its resources.
    """

    understands = set()

    async def render(self, request):
        critical = {int(o.number) for o in request.opt.option_list() if int(o.number) & 1}
        if critical & PROXY:
            raise NotAProxy()
        unknown = critical - UNDERSTOOD - self.understands
        if unknown:
            raise error.BadOption(f"critical option {min(unknown)} is not understood")
        return await super().render(request)


class NotAProxy(error.ConstructionRenderableError):
    code = Code.PROXYING_NOT_SUPPORTED


class Text(Resource):
    """A text that can be read and changed by all methods but POST. It is its own ETag."""

    understands = PRECONDITIONS

    def __init__(self):
        super().__init__()
        self.text = HELLO

    def get(self):
        if self.text is None:
            raise error.NotFound()
        return self.text

    def change(self, request, text):
        tags = request.opt.if_match
        if tags and (self.text is None or not any(t in (b"", self.text) for t in tags)):
            raise error.PreconditionFailed()
        if request.opt.if_none_match and self.text is not None:
            raise error.PreconditionFailed()
        created = self.text is None
        self.text = text
        return Message(code=Code.CREATED if created else Code.CHANGED)

    async def render_get(self, request):
        text = self.get()
        if request.opt.accept not in (None, 0):
            raise error.NotAcceptable()
        if text in (request.opt.etags or ()):
            response = Message(code=Code.VALID)
        else:
            response = Message(payload=text, content_format=0)
        response.opt.etag = text
        return response

    async def render_put(self, request):
        return self.change(request, request.payload)

    async def render_delete(self, request):
        self.change(request, None)
        return Message()

    async def render_fetch(self, request):
        if request.opt.content_format is None:
            raise error.BadRequest("FETCH needs a Content-Format")
        return Message(payload=self.get()[: int(request.payload)], content_format=0)

    async def render_patch(self, request):
        return self.change(request, self.get() + request.payload)

    async def render_ipatch(self, request):
        return self.change(request, request.payload + self.get()[len(request.payload) :])


class Jobs(Resource):
    async def render_post(self, request):
        response = Message(code=Code.CREATED)
        response.opt.location_path = ("jobs", "7")
        response.opt.location_query = ("new",)
        return response


class Echo(Resource, resource.PathCapable):
    """A resource for every path below; it answers with path and query."""

    async def render_get(self, request):
        safe = "!$&'()*+,;=:@"
        path = "".join("/" + quote(s, safe=safe) for s in ("echo", *request.opt.uri_path))
        query = "&".join(quote(q, safe="!$'()*+,;=:@/?") for q in request.opt.uri_query)
        return Message(payload=f"{path}?{query}".encode() if query else path.encode())


class Slow(Resource):
    """A resource that answers when the request has been acknowledged."""

    async def render_get(self, request):
        await asyncio.sleep(3 * TransportTuning.EMPTY_ACK_DELAY)
        return Message(payload=b"slow", content_format=0)


class Fixed(Resource):
    def __init__(self, payload):
        super().__init__()
        self.payload = payload

    async def render_get(self, request):
        return Message(payload=self.payload, content_format=0)


class Fails(Resource):
    async def render_get(self, request):
        raise RuntimeError("failed on purpose")


class Store(Resource):
    """A resource that holds what was put last."""

    rt = "store"

    def __init__(self):
        super().__init__()
        self.body = b""

    async def render_get(self, request):
        return Message(payload=self.body, content_format=42)

    async def render_put(self, request):
        self.body = request.payload
        return Message()


class Reversed(Resource):
    async def render_post(self, request):
        return Message(payload=request.payload[::-1], content_format=42)


class Observed(Store, resource.ObservableResource):
    rt = "observed"

    async def render_put(self, request):
        response = await super().render_put(request)
        self.updated_state()
        return response


async def main():
    logging.basicConfig(level=logging.DEBUG)
    site = resource.Site()
    site.add_resource([], Fixed(b"root"))
    site.add_resource(["text"], Text())
    site.add_resource(["jobs"], Jobs())
    site.add_resource(["echo"], Echo())
    site.add_resource(["slow"], Slow())
    site.add_resource(["empty"], Fixed(b""))
    site.add_resource(["long"], Fixed(b"x" * 1024))
    site.add_resource(["fails"], Fails())
    site.add_resource(["store"], Store())
    site.add_resource(["reversed"], Reversed())
    site.add_resource(["obs"], Observed())
    site.add_resource([".well-known", "core"], resource.WKCResource(site.get_resources_as_linkheader))
    address, port = sys.argv[1], int(sys.argv[2])
    context = await aiocoap.Context.create_server_context(site, bind=(address, port), transports=["udp6"])
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await context.shutdown()


asyncio.run(main())
