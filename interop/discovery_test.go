package interop

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/linkformat"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/udp"
)

// startDirectory starts a server of ours whose resources have something to say about
// themselves, and returns its URI. With many resources more, the list of them takes several messages.
func startDirectory(t *testing.T, host netip.Addr, more int) (base string) {
	t.Helper()
	mux := coap.NewMux()
	nothing := func(*coap.Response, *coap.Request) error { return nil }
	mux.HandleFunc("GET /sensors/temp", nothing, coap.Route{
		Formats: []coap.ContentFormat{coap.TextPlain, coap.JSON},
		Attributes: []linkformat.Param{
			{Name: "rt", Value: "temperature-c core.s", Quoted: true}, {Name: "if", Value: "sensor", Quoted: true},
			{Name: "title", Value: "Outside, \"north\"; shady", Quoted: true}, {Name: "sz", Value: "5"},
		},
	})
	mux.HandleFunc("GET /sensors/light", nothing, coap.Route{
		Formats:    []coap.ContentFormat{coap.CBOR},
		Attributes: []linkformat.Param{{Name: "rt", Value: "light-lux", Quoted: true}, {Name: "obs"}},
	})
	mux.HandleFunc("PUT /plain", nothing)
	mux.HandleFunc("GET /secret", nothing, coap.Route{Unlisted: true})
	for i := range more {
		mux.HandleFunc("GET /many/"+strings.Repeat("x", i+1), nothing)
	}
	conn, err := udp.Listen(netip.AddrPortFrom(host, 0).String(), nil)
	require.NoError(t, err)
	ep, err := coap.NewEndpoint(conn, mux, &coap.Config{ServeEcho: trusting})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ep.Close()) })
	return "coap://" + conn.LocalAddr().String()
}

// Links of a directory, as peers ought to print them.
const (
	linkTemp  = `</sensors/temp>;rt="temperature-c core.s";if="sensor";title="Outside, \"north\"; shady";sz=5;ct="0 50"`
	linkLight = `</sensors/light>;rt="light-lux";obs;ct=60`
	linkPlain = `</plain>`
)

// filters are searches in a directory and the links they find.
var filters = []struct {
	query string
	links []string
}{
	{"", []string{linkTemp, linkLight, linkPlain}},
	{"?rt=light-lux", []string{linkLight}},
	{"?rt=core.s", []string{linkTemp}},
	{"?rt=temp*", []string{linkTemp}},
	{"?href=/sensors/*", []string{linkTemp, linkLight}},
	{"?if=sensor", []string{linkTemp}},
	{"?rt=nothing", nil},
}

// libcoap's client reads what our server has, all of it or what a filter leaves.
func TestLibcoapClientDiscovers(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapClient, libcoapPackage)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		base := startDirectory(t, host, 0)
		for _, x := range filters {
			got := runLibcoap(t, base, &scenario{method: message.GET, target: "/.well-known/core" + x.query}, 10)
			require.Equal(t, message.Content, got.code, x.query)
			require.Equal(t, strings.Join(x.links, ","), got.body, x.query)
		}
	})
}

// A list that does not fit one message comes in blocks.
func TestLibcoapClientDiscoversMany(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapClient, libcoapPackage)
	base := startDirectory(t, loopback4, 200)
	stdout, _ := run(t, libcoapClient, "-m", "get", base+"/.well-known/core")
	links, err := linkformat.Parse([]byte(stdout))
	require.NoError(t, err)
	require.Len(t, links, 203)
	require.Equal(t, "/many/"+strings.Repeat("x", 200), links[202].Target)
}

// aiocoap's client reads what our server has, and its parser understands it as ours does.
func TestAiocoapClientDiscovers(t *testing.T) {
	t.Parallel()
	command := []string{requireAiocoap(t), script("aiocoap_client.py")}
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		base := startDirectory(t, host, 0)
		var requests []scriptRequest
		for _, x := range filters {
			s := &scenario{method: message.GET, target: "/.well-known/core" + x.query, code: message.Content}
			requests = append(requests, scriptRequest{aiocoapRequest: aiocoapRequestOf(base, s)})
		}
		for i, result := range runScript(t, command, requests...) {
			require.Equal(t, "2.05", result.Code, "%s %s", filters[i].query, result.Error)
			requireLinks(t, strings.Join(filters[i].links, ","), result.Links)
		}
	})
}

// requireLinks requires that a peer has understood a text as we do.
func requireLinks(t *testing.T, text string, got []scriptLink) {
	t.Helper()
	links, err := linkformat.Parse([]byte(text))
	require.NoError(t, err)
	require.Len(t, got, len(links), "links of %s", text)
	for i, l := range links {
		require.Equal(t, l.Target, got[i].Target)
		want := [][2]string{}
		for _, p := range l.Params {
			want = append(want, [2]string{p.Name, p.Value})
		}
		require.Equal(t, want, got[i].Attributes, "attributes of %s", l.Target)
	}
}

// CoAPthon3's and node-coap's clients read what our server has as it is; they have no parser.
func TestScriptClientsDiscover(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]func(t *testing.T) []string{
		"CoAPthon3": func(t *testing.T) []string { return requireCoapthon(t, "coapthon_client.py") },
		"node-coap": func(t *testing.T) []string { return requireNode(t, "node_client.js") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := startDirectory(t, loopback4, 0)
			var requests []scriptRequest
			for _, x := range filters {
				s := &scenario{method: message.GET, target: "/.well-known/core" + x.query, code: message.Content}
				requests = append(requests, scriptRequest{aiocoapRequest: aiocoapRequestOf(base, s)})
			}
			for i, result := range runScript(t, command(t), requests...) {
				require.Equal(t, "2.05", result.Code, "%s %s", filters[i].query, result.Error)
				require.Equal(t, strings.Join(filters[i].links, ","), result.Payload, filters[i].query)
			}
		})
	}
}

// discover has our client read what a server has.
func discover(t *testing.T, base, query string) []linkformat.Link {
	t.Helper()
	links, err := linkformat.Parse(wellKnown(t, base, query))
	require.NoError(t, err)
	return links
}

// wellKnown has our client get the list of what a server has.
func wellKnown(t *testing.T, base, query string) []byte {
	t.Helper()
	c, _ := newClient(t, coap.Params{})
	resp, err := c.Get(within(t), base+"/.well-known/core"+query)
	require.NoError(t, err)
	require.Equal(t, message.Content, resp.Code)
	format, ok := resp.Options.ContentFormat()
	require.True(t, ok || len(resp.Payload) == 0)
	if ok {
		require.Equal(t, coap.LinkFormat, format)
	}
	return resp.Payload
}

// targets returns the targets of links.
func targets(links []linkformat.Link) []string {
	var all []string
	for _, l := range links {
		all = append(all, l.Target)
	}
	return all
}

// Our client reads what libcoap's server has, resources that it has made before among it, and our
// parser understands it.
func TestOurClientDiscoversLibcoap(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapServer, libcoapPackage)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startLibcoap(t, host)
		requireUpload(t, 64, message.PUT, server.base+"/made", longBody(200))
		links := discover(t, server.base, "")
		require.ElementsMatch(t, []string{"/", "/time", "/async", "/example_data", "/made"}, targets(links))
		for _, l := range links {
			if l.Target == "/time" {
				require.Equal(t, "Internal Clock", l.Title())
				require.Equal(t, []uint16{0}, l.ContentFormats())
				require.True(t, l.Observable())
				require.Equal(t, []string{"ticks"}, l.Values("rt"))
				require.Equal(t, []string{"clock"}, l.Values("if"))
			}
		}
		require.Equal(t, []string{"/time"}, targets(discover(t, server.base, "?rt=ticks")))
		require.Equal(t, []string{"/time"}, targets(discover(t, server.base, "?href=/ti*")))
		require.Empty(t, discover(t, server.base, "?rt=nothing"))
	})
}

// Our client reads what aiocoap's server has, and our parser understands it.
func TestOurClientDiscoversAiocoap(t *testing.T) {
	t.Parallel()
	requireAiocoap(t)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startAiocoap(t, host)
		links := discover(t, server.base, "")
		require.Subset(t, targets(links), []string{"/", "/text", "/store", "/obs", "/.well-known/core"})
		observed := discover(t, server.base, "?rt=observed")
		require.Equal(t, []string{"/obs"}, targets(observed))
		require.True(t, observed[0].Observable())
		require.Equal(t, []string{"/store"}, targets(discover(t, server.base, "?rt=st*")))
	})
}

// Our client reads what CoAPthon3's server has.
//
// CoAPthon3 1.0.2 deviates: it ends the list with a comma, which our parser reports, after all links.
func TestOurClientDiscoversCoapthon(t *testing.T) {
	t.Parallel()
	requireCoapthon(t, "coapthon_server.py")
	server := startCoapthon(t, loopback4)
	list := func(query string) []linkformat.Link {
		text := wellKnown(t, server.base, query)
		links, err := linkformat.Parse(text)
		var syntax *linkformat.SyntaxError
		require.ErrorAs(t, err, &syntax)
		require.Equal(t, len(text), syntax.Offset, "place of the error")
		return links
	}
	links := list("")
	require.ElementsMatch(t, []string{"/text", "/store", "/obs", "/reversed", "/slow", "/long"}, targets(links))
	for _, l := range links {
		require.Equal(t, l.Target == "/obs", l.Observable(), l.Target)
		if l.Target == "/text" {
			require.Equal(t, []string{"text"}, l.Values("rt"))
		}
	}
	require.Equal(t, []string{"/text"}, targets(list("?rt=text")))
}
