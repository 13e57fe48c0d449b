// Package observe keeps clients informed of the state of resources (RFC 7641): a [Server] that is
// put around a handler, and a [Client] that is put around an exchange.Opener. It knows nothing of
// sockets, message IDs and retransmission: those are behind exchange.Pusher and exchange.Opener.
//
//	order.go         which notification is the freshest      sections 3.4 and 4.4
//	server.go        registering and removing observers      sections 2 and 4.1
//	attempt.go       one request that may register           section 4.1
//	registry.go      the list of observers and its limits    section 4.1, 7
//	sharing.go       what observers have in common
//	notify.go        rendering and sending notifications     sections 4.2, 4.3 and 4.5
//	pacing.go        when a notification may be sent         section 4.5.1
//	timers.go        when something is due for an observer
//	supersede.go     newer states while one is on its way    section 4.5.2
//	stats.go         how many observers, and their fate
//	client.go        one registration for all who ask        section 3.1
//	observation.go   what a caller sees of it                sections 3.2 and 3.6
//	registration.go  keeping it alive                        section 3.3
//
// A server tells what has changed by [Server.Notify]; the handler that answers requests renders the
// notifications as well. A client gets an [Observation], which says with each value and in between
// whether what it has told is still true.
//
// Two choices where the RFC leaves room. Notifications are confirmable unless
// ServerConfig.ConfirmEvery says otherwise: that keeps to the pace of the network without a guess,
// and loses nothing. And sequence numbers come from a clock, so that they go on where they were when
// a server is restarted.
//
// Block-wise transfer goes inside of a Server, which registers what the first block of a response
// answers and sends first blocks as notifications (RFC 7959 section 2.6), and FETCH requests of several
// blocks that are gathered; and beside a Client, by ClientConfig.Complete.
package observe
