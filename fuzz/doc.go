// Package fuzz has the fuzz targets of the library. Each states a property that holds for all
// inputs, most by comparing fast code with a slow and obvious model:
//
//	FuzzDecode       the decoder agrees with internal/reference, decode-encode-decode is stable
//	FuzzExplain      an explanation names the error, is bounded and printable
//	FuzzOptionEdits  any sequence of edits gives what a sorted slice gives
//	FuzzURI          parse-options-compose-parse is stable
//	FuzzLinkFormat   the parser accepts what the grammar has, parse-append-parse is stable
//	FuzzBlockServer  a peer that sends any blocks gets no memory beyond the limits and no wrong body in
//	FuzzBlockClient  a server that answers with any blocks makes no wrong body pass for a right one
//	FuzzObserveOrder   of two notifications the fresher one is found as RFC 7641 section 3.4 says
//	FuzzEngines      two engines over a network that drops, repeats and delays: exchanges settle once
//	FuzzEngineInput  no datagram, whatever is in it, disturbs what goes on with others
//
// "go test ./fuzz" runs them on their seeds, among them all packets of internal/reference and
// what earlier runs found, kept in testdata/fuzz. To search for more:
//
//	go test ./fuzz -run '^$' -fuzz '^FuzzDecode$' -fuzztime 10m
//
// To add a target, write FuzzX in a file of its own that states the property first, seed it
// with inputs that reach deep, and list it above and in README.md, which says what to do with
// an input that fails.
package fuzz
