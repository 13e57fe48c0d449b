// Package interop tests the library against programs that others wrote: peers run as
// processes on loopback, and dissectors read what we encode. Nothing here needs the
// internet.
//
//	file               program    package
//	tshark_test.go     tshark     tshark (Debian)
//	libcoap_test.go    libcoap    libcoap3-bin (Debian)
//	aiocoap_test.go    aiocoap    aiocoap (pip)
//
// aiocoap is looked for in the Python interpreter that COAPKIT_AIOCOAP_PYTHON names, or else in
// python3. Programs for it are in testdata.
//
// Most exchanges with peers are the table of scenarios_test.go, which clients of others play with our
// server, the site of site_test.go, and our client with servers of others that have the same
// resources.
//
// A test whose program is missing is skipped and says which package has it. Where skipping
// must not go unnoticed, as in continuous integration, set
//
//	COAPKIT_REQUIRE_PEERS=1
//
// and a missing program is a failure. To add a peer, add a file with its tests that begin
// with requireTool, and a row above.
package interop
