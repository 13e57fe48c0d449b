// Package echo makes peers show that they receive what is sent to the address that they claim
// (RFC 9175 section 2). A server that sends long answers to whoever asks can be used to flood the owner of a
// forged address; so a [Server] asks an unknown peer to repeat its request with the value
// of an Echo option first, and a [Client] does that for its caller.
//
// Nothing is remembered for an address before it is proven: the value is a keyed hash of the address
// and the time. It proves reachability, not identity, and not that a request is fresh where somebody
// on the path could hold it back: for that the exchange has to be protected, by DTLS for instance
// (section 2.3).
package echo
