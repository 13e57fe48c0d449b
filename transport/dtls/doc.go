// Package dtls carries CoAP over DTLS 1.2 (RFC 7252 section 9, RFC 6347): coaps. A [Conn] is a
// transport around another, usually UDP, with a secure session for each peer.
//
// A server listens and serves; who its clients are is told by [IdentityOf]:
//
//	conn, err := dtls.Listen(":5684", &dtls.Config{PSK: dtls.Keys{"lamp-7": key}.Lookup})
//	…
//	err = server.Serve(ctx, conn)
//
// A client connects with its first request, and again when its session is lost:
//
//	secure := dtls.Dialer(&dtls.Config{Credentials: dtls.PSK("lamp-7", key)})
//	client, err := coap.Dial(ctx, "coaps://example.com", &coap.Config{Secure: secure})
//
// # What is whose work
//
// Handshakes are those of github.com/pion/dtls. When one has ended well, its keys and counters come here, and with them
// the protection of records: a session is a row in a table then, without a goroutine, found by its connection ID
// (RFC 9146) or by the address of the peer. Cipher suites are those with authenticated encryption, those that RFC 7252 section 9
// makes mandatory first. Raw public keys (RFC 7250) cannot be had: a configuration can pin the key of a self-signed
// certificate instead, which takes as little administration.
package dtls
