// Package interop tests the library against programs that others wrote: peers run as
// processes on loopback, and dissectors read what we encode. Nothing here needs the
// internet.
//
//	file               program    package
//	tshark_test.go     tshark     tshark (Debian)
//
// A test whose program is missing is skipped and says which package has it. Where skipping
// must not go unnoticed, as in continuous integration, set
//
//	COAPKIT_REQUIRE_PEERS=1
//
// and a missing program is a failure. To add a peer, add a file with its tests that begin
// with requireTool, and a row above.
package interop
