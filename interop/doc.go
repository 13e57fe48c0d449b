// Package interop tests the library against programs that others wrote: peers run as
// processes on loopback, and dissectors read what we encode. Nothing here needs the
// internet.
//
//	file                   program    package
//	tshark_test.go         tshark     tshark (Debian)
//	libcoap_test.go        libcoap    libcoap3-bin (Debian)
//	aiocoap_test.go        aiocoap    aiocoap (pip)
//	netns_test.go          ip         iproute2 (Debian)
//	netns_libcoap_test.go  nsenter    util-linux (Debian)
//	node_test.go           node-coap  nodejs (Debian), coap (npm)
//	coapthon_test.go       CoAPthon3  CoAPthon3 (pip)
//
// aiocoap is looked for in the Python interpreter that COAPKIT_AIOCOAP_PYTHON names, or else in
// python3. node-coap is looked for in the folder node_modules that COAPKIT_NODE_MODULES names, or else
// in those of NODE_PATH; CoAPthon3 in the folder that COAPKIT_COAPTHON_PYTHONPATH names, or else where
// python3 looks. Programs for them are in testdata.
//
// Most exchanges with peers are the table of scenarios_test.go, which clients of others play with our
// server, the site of site_test.go, and our client with servers of others that have the same
// resources.
//
// Bodies of many blocks go both ways in blocks_test.go, with the depot of depot_test.go as our server; lists of
// resources in discovery_test.go; values that change in observe_test.go, which also has our server for them.
// script_test.go runs the client scripts of testdata, which all take the same requests.
//
// The tests of netns_test.go and netns_libcoap_test.go have several hosts, which are processes in
// network namespaces of their own, joined by bridges (Linux). They need the right to make these: that of root, or of
//
//	unshare --user --map-root-user --net go test -run Netns ./interop
//
// Without it they are skipped, or fail with COAPKIT_REQUIRE_NAMESPACES=1.
//
// A test whose program is missing is skipped and says which package has it. Where skipping
// must not go unnoticed, as in continuous integration, set
//
//	COAPKIT_REQUIRE_PEERS=1
//
// and a missing program is a failure. To add a peer, add a file with its tests that begin
// with requireTool, and a row above.
package interop
