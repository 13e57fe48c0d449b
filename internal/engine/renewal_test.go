package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
)

// The separate response to a renewal overtakes the acknowledgement. That is the end of the renewal, also
// if it cannot be told from a notification; one that deregisters is told by having no Observe option.
//
// Proves 7252-5.2.2-s15.
func TestRenewalAnsweredBeforeAcknowledged(t *testing.T) {
	r := newRig(t, Config{})
	x, req := r.opened("obs")
	require.NoError(t, r.renew(x, "CON GET opt=6:"))
	again := r.want("renewal", "CON GET tok=%s", req.Token)
	r.receive("the response is first", "CON 2.05 mid=7 tok=%s opt=6:10", req.Token)
	require.True(t, r.response("handed on", "obs", "2.05").More)
	r.want("acknowledged", "ACK 0.00 mid=7")
	r.receive("then the acknowledgement", "ACK 0.00 mid=%d", again.MessageID)
	checkEngine(t, r.e)
	r.advance(time.Hour)
	r.idle("nothing more is waited for")

	require.NoError(t, r.renew(x, "CON GET opt=6:01"), "it is open as before")
	last := r.want("deregisters", "CON GET tok=%s", req.Token)
	r.receive("a notification crosses it", "NON 2.05 mid=8 tok=%s opt=6:11", req.Token)
	r.response("handed on", "obs", "2.05")
	r.receive("acknowledged", "ACK 0.00 mid=%d", last.MessageID)
	r.advance(time.Hour)
	r.end("the notification was no response to that", "obs", exchange.ErrNoSeparateResponse)
	r.quiet()
}

// A notification that was sent before the request that deregisters was seen may arrive after its acknowledgement. The
// response is waited for as before, and no longer.
//
// Proves 7252-5.2.2-s15.
func TestNotificationCrossesDeregistration(t *testing.T) {
	r := newRig(t, Config{})
	x, req := r.opened("obs")
	require.NoError(t, r.renew(x, "CON GET opt=6:01"))
	last := r.want("deregisters", "CON GET tok=%s", req.Token)
	r.receive("acknowledged", "ACK 0.00 mid=%d", last.MessageID)
	r.receive("a notification from before", "NON 2.05 mid=8 tok=%s opt=6:11", req.Token)
	r.response("handed on", "obs", "2.05")
	checkEngine(t, r.e)
	r.advance(time.Hour)
	r.end("no response has come", "obs", exchange.ErrNoSeparateResponse)
	r.quiet()

	x, req = r.opened("another")
	require.NoError(t, r.renew(x, "CON GET opt=6:01"))
	last = r.want("deregisters", "CON GET tok=%s", req.Token)
	r.receive("a server that does not care", "ACK 2.05 mid=%d tok=%s opt=6:12", last.MessageID, req.Token)
	require.False(t, r.response("its answer", "another", "2.05").More)
	r.quiet()
}
