package main

import (
	"fmt"
	"io"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
)

// tracer returns a trace function that writes a line for each message, and for what was dropped.
func tracer(out io.Writer) func(coap.TraceEvent) {
	return func(e coap.TraceEvent) {
		arrow := "->"
		switch e.Kind {
		case coap.TraceSent:
		case coap.TraceReceived:
			arrow = "<-"
		case coap.TraceDropped:
			fmt.Fprintf(out, "   dropped: %v\n", e.Reason)
			return
		default:
			return
		}
		var m message.Message
		what := ""
		if err := codec.DecodeUDP(e.Datagram, &m); err != nil {
			what = fmt.Sprintf("%x: %v", e.Datagram, err)
		} else {
			what = m.String()
		}
		fmt.Fprintf(out, "%s %s %v %s\n", e.Time.Format("15:04:05.000"), arrow, e.Peer.Addr, what)
	}
}
