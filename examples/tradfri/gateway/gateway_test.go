package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/examples/tradfri/ipso"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/transport/dtls"
)

// house is a gateway with two bulbs in a group, and notes what observers are told.
type house struct {
	*Gateway
	t     *testing.T
	mux   *coap.Mux
	bulbs [2]int
	group int
	me    string // an identity

	mu   sync.Mutex
	told []string
}

func newHouse(t *testing.T) *house {
	h := &house{Gateway: New("0123456789abcdef"), t: t}
	h.mux = h.Handler(func(path string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.told = append(h.told, path)
	})
	h.bulbs = [2]int{h.AddBulb("Hall", "TRADFRI bulb E27 W opal 1000lm"), h.AddBulb("Desk", "TRADFRI bulb GU10 WS 400lm")}
	h.group = h.AddGroup("All", h.bulbs[:]...)
	h.me = "me"
	_, err := h.pair(h.me)
	require.NoError(t, err)
	h.news()
	return h
}

// news returns what observers were told since it was called last.
func (h *house) news() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	told := h.told
	h.told = nil
	return told
}

// ask asks in the name of somebody; "" is a client without key.
func (h *house) ask(who string, method coap.Code, path, body string) *coap.Response {
	h.t.Helper()
	req, err := coap.NewRequest(method, path)
	require.NoError(h.t, err)
	req.Payload = []byte(body)
	req.Arrive(exchange.Arrival{Peer: exchange.Peer{Secure: true, Identity: &dtls.Identity{PSK: who}}})
	return coaptest.Serve(h.mux, req)
}

// do asks with an identity, and wants a code.
func (h *house) do(want coap.Code, method coap.Code, path, body string) {
	h.t.Helper()
	require.Equal(h.t, want, h.ask(h.me, method, path, body).Code, "%v %s %s", method, path, body)
}

// bulb returns the object of a bulb.
func (h *house) bulb(i int) (d ipso.Device) {
	h.t.Helper()
	h.get(devicePath(h.bulbs[i]), &d)
	return d
}

// state describes a bulb in a few words.
func (h *house) state(i int) string {
	h.t.Helper()
	d := h.bulb(i)
	l := d.Lights[0]
	return fmt.Sprintf("on=%v level=%d reachable=%v", *l.On, *l.Level, d.Reachable)
}

func (h *house) get(path string, v any) {
	h.t.Helper()
	resp := h.ask(h.me, coap.GET, path, "")
	require.Equal(h.t, coap.Content, resp.Code)
	format, ok := resp.Options.ContentFormat()
	require.True(h.t, ok)
	require.Equal(h.t, coap.JSON, format)
	require.NoError(h.t, json.Unmarshal(resp.Payload, v))
}

func TestWhoMayDoWhat(t *testing.T) {
	h := newHouse(t)
	for _, test := range []struct {
		who, path string
		method    coap.Code
		body      string
		want      coap.Code
	}{
		{"", "/15001", coap.GET, "", coap.Unauthorized},
		{"", "/15011/9063", coap.POST, `{"9090":"a"}`, coap.Unauthorized},
		{"stranger", "/15001", coap.GET, "", coap.Unauthorized},
		{"Client_identity", "/15001", coap.GET, "", coap.Unauthorized},
		{"Client_identity", "/15001/65536", coap.PUT, `{"3311":[{"5850":1}]}`, coap.Unauthorized},
		{"Client_identity", "/15011/9063", coap.GET, "", coap.MethodNotAllowed},
		{"Client_identity", "/15011/9063", coap.POST, `{"9090":"a"}`, coap.Created},
		{"Client_identity", "/15011/9063", coap.POST, `{"9090":"a"}`, coap.BadRequest}, // taken
		{"Client_identity", "/15011/9063", coap.POST, `{"9090":"Client_identity"}`, coap.BadRequest},
		{"Client_identity", "/15011/9063", coap.POST, `{"9090":""}`, coap.BadRequest},
		{"Client_identity", "/15011/9063", coap.POST, `{"9090":"` + strings.Repeat("a", 65) + `"}`, coap.BadRequest},
		{"Client_identity", "/15011/9063", coap.POST, `{`, coap.BadRequest},
		{"a", "/15001", coap.GET, "", coap.Content},
		{"a", "/15011/15012", coap.GET, "", coap.Content},
		{"a", "/15011/9063", coap.POST, `{"9090":"b"}`, coap.Unauthorized},
	} {
		require.Equal(t, test.want, h.ask(test.who, test.method, test.path, test.body).Code, "%+v", test)
	}
	require.Equal(t, ipso.Bool(false), *h.bulb(0).Lights[0].On, "who may not has changed nothing")
}

// An unprotected request has no identity at all.
func TestWithoutDTLS(t *testing.T) {
	h := newHouse(t)
	req, err := coap.NewRequest(coap.GET, "/15001")
	require.NoError(t, err)
	require.Equal(t, coap.Unauthorized, coaptest.Serve(h.mux, req).Code)
}

func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		var paired ipso.Paired
		resp := h.ask(ipso.PairingIdentity, coap.POST, ipso.Pairing, `{"9090":"phone"}`)
		require.NoError(t, json.Unmarshal(resp.Payload, &paired))
		has := func(want, identity string) {
			t.Helper()
			key, err := h.Key(identity)
			require.NoError(t, err)
			require.Equal(t, want, string(key))
		}
		require.Len(t, paired.Key, 16)
		has(paired.Key, "phone")
		has("0123456789abcdef", ipso.PairingIdentity)
		has("", "tablet")

		coaptest.Pass(unusedFor - time.Hour)
		require.Equal(t, coap.Content, h.ask("phone", coap.GET, ipso.Devices, "").Code)
		coaptest.Pass(unusedFor - time.Hour)
		has(paired.Key, "phone") // it was used
		coaptest.Pass(2 * time.Hour)
		has("", "phone")
		require.Equal(t, coap.Unauthorized, h.ask("phone", coap.GET, ipso.Devices, "").Code, "also in a session from before")
		_, err := h.pair("phone")
		require.NoError(t, err, "the name is free again")
	})
}

func TestIdentitiesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New("code")
		for i := range maxIdentities {
			_, err := g.pair(fmt.Sprint(i))
			require.NoError(t, err)
		}
		_, err := g.pair("one more")
		require.Error(t, err)
		coaptest.Pass(unusedFor + 1)
		_, err = g.pair("one more")
		require.NoError(t, err)
	})
}

func TestObjects(t *testing.T) {
	h := newHouse(t)
	var ids []int
	h.get(ipso.Devices, &ids)
	require.Equal(t, h.bulbs[:], ids)
	h.get(ipso.Groups, &ids)
	require.Equal(t, []int{h.group}, ids)

	resp := h.ask(h.me, coap.GET, devicePath(h.bulbs[1]), "")
	require.Regexp(t, `^{"9003":65537,"9001":"Desk","5750":2,"9019":1,"9002":\d+,"9020":\d+,"3":{"0":"IKEA of Sweden","1":"TRADFRI bulb GU10 WS 400lm","3":"2.3.050","6":1},"3311":\[{"5850":0,"5851":254,"9003":0}\]}$`, string(resp.Payload))
	require.Equal(t, 604800*time.Second, resp.Options.MaxAge())
	resp = h.ask(h.me, coap.GET, groupPath(h.group), "")
	require.Regexp(t, `^{"5850":0,"5851":254,"9003":131073,"9001":"All","9002":\d+,"9018":{"15002":{"9003":\[65536,65537\]}}}$`, string(resp.Payload))
	for _, path := range []string{"/15001/65538", "/15001/x", "/15001/0", "/15004/131072", "/15004/131074", "/15002"} {
		h.do(coap.NotFound, coap.GET, path, "")
	}
	h.do(coap.NotFound, coap.PUT, "/15001/65538", `{"9001":"a"}`)
	h.do(coap.NotFound, coap.PUT, "/15004/65537", `{"9001":"a"}`)
}

// Commands follow one another.
func TestCommands(t *testing.T) {
	h := newHouse(t)
	path := devicePath(h.bulbs[0])
	for _, step := range []struct{ command, want string }{
		{`{"5850":1}`, "on=true level=254 reachable=true"},
		{`{"5851":100,"5712":5}`, "on=true level=100 reachable=true"},
		{`{"5850":0}`, "on=false level=100 reachable=true"},
		{`{"5851":7}`, "on=true level=7 reachable=true"},
		{`{"5851":0}`, "on=false level=7 reachable=true"},
		{`{"5850":0,"5851":50}`, "on=false level=7 reachable=true"},
	} {
		h.do(coap.Changed, coap.PUT, path, `{"3311":[`+step.command+`]}`)
		require.Equal(t, step.want, h.state(0), step.command)
		require.Equal(t, []string{path}, h.news(), "observers are told")
	}
	require.Equal(t, "on=false level=254 reachable=true", h.state(1), "the other bulb has nothing to do with it")

	h.do(coap.Changed, coap.PUT, path, `{"3311":[{"5706":"efd275"}]}`)
	require.Equal(t, "efd275", h.bulb(0).Lights[0].Color)
	h.do(coap.Changed, coap.PUT, path, `{"9001":"Kitchen"}`)
	require.Equal(t, "Kitchen", h.bulb(0).Name)
}

func TestBadCommands(t *testing.T) {
	h := newHouse(t)
	for _, body := range []string{
		``, `{}`, `[]`, `{"3311":[]}`, `{"3311":[{}]}`, `{"3311":[{"5712":1}]}`, `{"3311":[{"5850":2}]}`, `{"3311":[{"5851":255}]}`, `{"3311":[{"5851":-1}]}`,
		`{"3311":[{"5850":1,"5712":-1}]}`, `{"3311":[{"5706":"red"}]}`, `{"3311":[{"5850":1},{"5850":1}]}`, `{"5850":1}`, `{"9001":"` + strings.Repeat("a", 65) + `"}`,
	} {
		h.do(coap.BadRequest, coap.PUT, devicePath(h.bulbs[0]), body)
	}
	for _, body := range []string{``, `{}`, `{"5851":255}`, `{"5712":1}`, `{"3311":[{"5850":1}]}`} {
		h.do(coap.BadRequest, coap.PUT, groupPath(h.group), body)
	}
	require.Equal(t, "on=false level=254 reachable=true", h.state(0))
	require.Empty(t, h.news())
}

func TestGroup(t *testing.T) {
	h := newHouse(t)
	state := func() string {
		var g ipso.Group
		h.get(groupPath(h.group), &g)
		return fmt.Sprintf("%s on=%v level=%d", g.Name, *g.On, *g.Level)
	}
	h.do(coap.Changed, coap.PUT, groupPath(h.group), `{"5851":50,"5712":10}`)
	require.Equal(t, "All on=true level=50", state())
	for i := range h.bulbs {
		require.Equal(t, "on=true level=50 reachable=true", h.state(i))
	}
	require.Equal(t, []string{devicePath(h.bulbs[0]), devicePath(h.bulbs[1])}, h.news(), "who observes the group is not told")

	h.do(coap.Changed, coap.PUT, devicePath(h.bulbs[0]), `{"3311":[{"5850":0}]}`)
	h.do(coap.Changed, coap.PUT, devicePath(h.bulbs[1]), `{"3311":[{"5850":0}]}`)
	require.Equal(t, "All on=true level=50", state(), "it says what it was told last")
	h.news()

	h.do(coap.Changed, coap.PUT, groupPath(h.group), `{"9001":"House"}`)
	require.Equal(t, "House on=true level=50", state())
	require.Equal(t, []string{groupPath(h.group)}, h.news())
}

// A bulb without power follows no command, which the gateway notices after a while.
func TestPower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		path := devicePath(h.bulbs[0])
		h.SetPower(h.bulbs[0], false)
		h.do(coap.Changed, coap.PUT, path, `{"3311":[{"5850":1}]}`)
		require.Equal(t, "on=false level=254 reachable=true", h.state(0), "nobody knows yet")
		require.Empty(t, h.news())
		coaptest.Pass(noticesAfter)
		synctest.Wait()
		require.Equal(t, "on=false level=254 reachable=false", h.state(0))
		require.Equal(t, []string{path}, h.news())

		h.do(coap.Changed, coap.PUT, groupPath(h.group), `{"5851":9}`)
		require.Equal(t, []string{devicePath(h.bulbs[1])}, h.news(), "the other bulb follows")
		h.SetPower(h.bulbs[0], true)
		require.Equal(t, "on=true level=254 reachable=true", h.state(0))
		coaptest.Pass(noticesAfter)
		synctest.Wait()
		require.Equal(t, "on=true level=254 reachable=true", h.state(0), "it is back in time")
		require.Equal(t, []string{path}, h.news())
		h.SetPower(1, true) // there is none
	})
}
