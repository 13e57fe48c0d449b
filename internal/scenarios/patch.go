package scenarios

import (
	"sync"
	"testing"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/message"
	"github.com/stretchr/testify/require"
)

// note is a resource that holds a text. FETCH returns as many of its bytes as the payload says, PATCH
// appends the payload, and iPATCH replaces the first bytes by it.
type note struct {
	mu   sync.Mutex
	text string
	runs int
}

func (n *note) ServeCoAP(w *coap.Response, r *coap.Request) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.runs++
	if f, ok := r.Options.ContentFormat(); !ok || f != coap.TextPlain {
		return &coap.Error{Code: coap.UnsupportedContentFormat}
	}
	switch string(r.Payload) {
	case "?":
		return &coap.Error{Code: coap.BadRequest}
	case "impossible":
		return &coap.Error{Code: coap.UnprocessableEntity}
	case "conflict":
		return &coap.Error{Code: coap.Conflict, Diagnostic: "with what another one wants"}
	case "busy":
		return &coap.Error{Code: coap.ServiceUnavailable}
	}
	if err := r.Precondition([]byte(n.text), n.text != ""); err != nil {
		return err
	}
	if n.text == "" {
		return &coap.Error{Code: coap.NotFound}
	}
	if r.Code == coap.FETCH {
		selected := n.text[:min(len(r.Payload), len(n.text))]
		w.SetETag([]byte(selected))
		return w.Text(selected)
	}
	if w.SetCode(coap.Changed); r.Code == coap.PATCH {
		n.text += string(r.Payload)
	} else {
		n.text = string(r.Payload) + n.text[min(len(r.Payload), len(n.text)):]
	}
	return nil
}

// FetchAndPatch: the methods of RFC 8132 reach a handler with their payload, and each error that it may answer with
// arrives under its number. Preconditions are about the resource, an ETag about what FETCH selects.
func FetchAndPatch(t *testing.T, over *Transport) {
	for _, test := range []struct {
		request, text, want, after string
		runs                       int
	}{
		{"FETCH opt=12: pay=xxx", "hello", "2.05 opt=4:68656c pay=hel", "hello", 1},
		{"FETCH opt=4:68656c opt=12: pay=xxx", "hello", "2.03 opt=4:68656c pay=", "hello", 1},
		{"FETCH opt=4:68656c opt=12: pay=xxxx", "hello", "2.05 opt=4:68656c6c pay=hell", "hello", 1},
		{"FETCH opt=1:68656c6c6f opt=12: pay=xxx", "hello", "2.05 pay=hel", "hello", 1},
		{"FETCH opt=1:68656c opt=12: pay=xxx", "hello", "4.12", "hello", 1}, // the tag of what would be selected
		{"FETCH opt=5: opt=12: pay=xxx", "hello", "4.12", "hello", 1},
		{"FETCH opt=12: pay=?", "hello", "4.00", "hello", 1},
		{"FETCH opt=12:32 pay=xxx", "hello", "4.15", "hello", 1},
		{"FETCH opt=12: pay=impossible", "hello", "4.22", "hello", 1},
		{"FETCH opt=12: pay=seventeen-letters", "hello", "4.13 opt=60:10", "hello", 0},
		{"PATCH opt=12: pay=!", "hello", "2.04", "hello!", 1},
		{"iPATCH opt=12: pay=j", "hello", "2.04", "jello", 1},
		{"PATCH opt=12: pay=?", "hello", "4.00", "hello", 1},
		{"PATCH opt=12:32 pay=!", "hello", "4.15", "hello", 1},
		{"PATCH opt=12: pay=impossible", "hello", "4.22", "hello", 1},
		{"PATCH opt=12: pay=!", "", "4.04", "", 1},
		{"PATCH opt=1:61 opt=12: pay=!", "hello", "4.12", "hello", 1},
		{"PATCH opt=5: opt=12: pay=!", "hello", "4.12", "hello", 1},
		{"PATCH opt=12: pay=seventeen-letters", "hello", "4.13 opt=60:10", "hello", 0},
		{"PATCH opt=12: pay=conflict", "hello", "4.09 pay=with", "hello", 1},
		{"iPATCH opt=12: pay=busy", "hello", "5.03", "hello", 1},
	} {
		bubble(t, test.request+" of "+test.text, func(t *testing.T) {
			n := &note{text: test.text}
			mux := coap.NewMux()
			mux.Handle("/note", n, coap.Route{Preconditions: true, Body: blockwise.Mode{Limit: 16}})
			r := newRig(t, over, mux, nil)
			want := test.want
			if test.want == "4.09 pay=with" {
				want = "4.09" // and a text with spaces
			}
			r.peer.send("CON %s mid=1 path=note", test.request)
			got := r.peer.want(test.request, "ACK %s mid=1", want)
			if got.Code == message.Conflict {
				require.Equal(t, "with what another one wants", string(got.Payload))
			}
			require.Equal(t, test.after, n.text)
			require.Equal(t, test.runs, n.runs)
		})
	}
}
