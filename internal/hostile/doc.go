// Package hostile attacks a live server and a live client over real sockets, and looks whether others
// notice. It has tests only:
//
//	flood_test.go          many forged addresses, message IDs used up and used again
//	transfers_test.go      bodies that are never finished
//	amplification_test.go  what goes to addresses that nobody has proven
//	malformed_test.go      all that can be wrong with a datagram
//	forgery_test.go        acknowledgements, resets, tokens and ICMP messages of third parties
//	page_test.go           docs/security.md names all limits and all reasons to drop
//
// The numbers in docs/security.md come from
//
//	go test -v -count=1 ./internal/hostile
//
// Nothing here measures time. As an attacker has no reason to wait, tests pace themselves only so that
// the system does not drop datagrams before the library sees them: after each burst somebody who means
// well asks something, and has to be answered. COAP_HOSTILE_SOURCES sets the number of forged addresses,
// and -short and -race divide all numbers. All of 127.0.0.0/8 is needed, as Linux has it; what
// wants raw sockets, and so root, skips without.
package hostile
