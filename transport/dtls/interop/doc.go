// Package interop tests coaps against programs that others wrote, which run as processes on loopback: CoAP over DTLS 1.2 with
// pre-shared keys and with certificates, in both roles. Nothing here needs the internet.
//
//	file                 program                                  package
//	libcoap_test.go,     coap-client-openssl, -gnutls, and        libcoap3-bin (Debian)
//	sessions_test.go     coap-server-openssl, -gnutls
//	californium_test.go  californium/Peer.java                    default-jdk-headless (Debian), Californium as
//	roaming_test.go      the same, and the NAT of nat_test.go     californium/pom.xml says
//
// Californium and our program for it are looked for in the folder that COAPKIT_CALIFORNIUM names:
//
//	mvn -q -B -f californium dependency:copy-dependencies -DoutputDirectory=$COAPKIT_CALIFORNIUM
//	javac -cp "$COAPKIT_CALIFORNIUM/*" -d $COAPKIT_CALIFORNIUM californium/Peer.java
//
// A test whose program is missing is skipped and says which package has it, or fails with COAPKIT_REQUIRE_PEERS=1, for
// Californium COAPKIT_REQUIRE_CALIFORNIUM=1, as in package interop of the root module, which has the tests without DTLS.
// The helpers for processes are copies of those there, since tests cannot be imported.
//
// # What the peers are like
//
// libcoap 4.3.1 is called with -k and -u for keys; with -c, -j and -C for certificates, and -n for a server that asks for
// none of its clients. Its server listens for coaps one port above coap. With OpenSSL and with GnuTLS it has the cipher suites
// with CCM_8 (GnuTLS only those with keys of 128 bits), extended master secret, and the curves secp256r1 and x25519, but
// no connection IDs; it sends the name of the server even if that is an address. Some of what it does has to be known:
//
//   - Its example programs accept expired certificates, and certificates for other names.
//   - With a wrong key, it drops what it cannot read and says nothing; so does GnuTLS as a server without credentials that fit.
//   - With GnuTLS, it reads the first record of a datagram that repeats what it has had, and leaves the others lying until
//     the next one comes.
//   - Its client gives a handshake up after five seconds.
//
// Californium 3.14.0 has connection IDs of any length, for which see Peer.java, and resumes sessions. It
//
//   - says nothing to who has a wrong key or an unknown identity,
//   - drops records without a connection ID where one was agreed on, also the end of a handshake,
//   - sends notifications to the address from which it was asked for them, also if the session has moved.
package interop
