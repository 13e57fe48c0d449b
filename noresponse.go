package coap

import (
	"context"

	"github.com/coapkit/coap/message"
)

// noResponse declines all classes of responses (RFC 7967 section 2.1):
// 2 for 2.xx, 8 for 4.xx, 16 for 5.xx.
const noResponse = 2 | 8 | 16

// Send sends req, non-confirmable and with No-Response 26 unless it has another value, and
// returns once it is handed to the transport: to report what is outdated soon, or to switch a group on
// (RFC 7967). Nobody learns whether it has arrived. If some class of responses is still
// wanted, such as errors by No-Response 2, Send waits for one as [Client.Do] does, and
// returns what [Response.Err] says of it.
//
// The rate is the caller's affair, for nothing tells when it is too high for the network or
// the server: at most one request in 3 seconds if nothing is known of them. Who sends more often has to
// send a request that is answered now and then (section 3.2). A body that takes several messages
// is sent as Do sends it.
func (c *Client) Send(ctx context.Context, req *Request) error {
	r := *req
	r.NonConfirmable = true
	if !r.Options.Has(message.OptionNoResponse) {
		r.Options = req.Options.Borrow()
		r.Options.SetUint(message.OptionNoResponse, noResponse)
	}
	var resp Response
	if err := c.Do(ctx, &r, &resp); err != nil {
		return err
	}
	return resp.Err()
}

// oneWay reports whether nothing comes back for req: that is possible with a group, too.
func oneWay(req *Request) bool {
	if req == nil {
		return false // a ping
	}
	v, ok := req.Options.Uint(message.OptionNoResponse)
	return ok && v&noResponse == noResponse && req.NonConfirmable
}

// sentOneWay sends what does not get a response and tells who waits for it. The lock is held, and
// released.
func (ep *Endpoint) sentOneWay() {
	var done results
	ep.collect(&done, nil)
	ep.flush()
	ep.dispatch(&done)
}
