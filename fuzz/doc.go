// Package fuzz has the fuzz targets of the library. Each states a property that holds for all
// inputs, most by comparing fast code with a slow and obvious model:
//
//	FuzzDecode         the decoder agrees with internal/reference, decode-encode-decode is stable
//	FuzzForged         the same for messages that are built, and nearly valid
//	FuzzExplain        an explanation names the error, is bounded and printable
//	FuzzOptionEdits    any sequence of edits gives what a sorted slice gives
//	FuzzURI            parse-options-compose-parse is stable
//	FuzzNames          codes, content formats and options are found by the names they are written with
//	FuzzLinkFormat     the parser accepts what the grammar has, parse-append-parse is stable
//	FuzzMux            who answers is a pattern that matches, if there is one
//	FuzzBlockValue     Block options mean what RFC 7959 section 2.2 says
//	FuzzBlockServer    a peer that sends any blocks gets no memory beyond the limits and no wrong body in
//	FuzzBlockClient    a server that answers with any blocks makes no wrong body pass for a right one
//	FuzzBlockWindow    blocks that are asked for ahead make no wrong body, whatever comes in whatever order
//	FuzzObserveOrder   of two notifications the fresher one is found as RFC 7641 section 3.4 says
//	FuzzObserveServer  the list of observers is right, and all of them get the last value
//	FuzzObserveClient  whatever a server says: no wrong value, no exchange left open, no storm
//	FuzzObserveGroup   whatever the members of a group say, the same
//	FuzzEchoServer     only who was given a value proves an address; others get three times what they send
//	FuzzEchoClient     a value goes back to the server that gave it, a few times
//	FuzzDedup          a message is processed once in its lifetime, and a copy gets the same reply
//	FuzzNoResponse     what RFC 7967 withholds is not sent, and everything else is
//	FuzzEngines        two engines over a network that drops, repeats and delays: exchanges settle once
//	FuzzEngineInput    no datagram, whatever is in it, disturbs what goes on with others
//	FuzzEndpoint       no peer, whatever it does, disturbs a live endpoint that others use
//
// "go test ./fuzz" runs them on their seeds, among them all packets of internal/reference and
// what earlier runs found, kept in testdata/fuzz. To search for more:
//
//	go test ./fuzz -run '^$' -fuzz '^FuzzDecode$' -fuzztime 10m
//
// To add a target, write FuzzX in a file of its own that states the property first, seed it
// with inputs that reach deep, and list it above, in README.md, which says what to do with
// an input that fails, and in oss-fuzz/build.sh. Code that is not exported has its targets in its own
// package: FuzzLine in coaptest, FuzzParseControl and FuzzParseError in transport/udp, FuzzDecode in cmd/coap.
package fuzz
