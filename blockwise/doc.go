// Package blockwise transfers bodies that do not fit one message, block by block (RFC 7959), as
// wrappers of the contracts of package exchange: a [Server] around a Handler and a [Client]
// around a RoundTripper. What is inside sees whole bodies, or readers of them.
//
// The parts, the pure ones first: those take the time as an argument and do no I/O.
//
//	section 2.2           block.go            the Block value
//	sections 2.4, 2.5     source.go           cutting a body: bytes, io.ReadSeeker, io.Reader
//	section 2.5           upload.go           assembling a request body: order, repeats, gaps, limits
//	RFC 9175 section 3.3  key.go              which blocks belong together
//	section 7.1           table.go            what is kept, for how long, and who has to go
//	section 2.4           snapshot.go         served representations, shared between peers
//	section 2.9           server.go           the Server; errors as response codes
//	sections 2.3, 2.5     server_upload.go    Block1 at the server
//	                      feed.go             streamed uploads: a handler that reads while blocks arrive
//	sections 2.4, 2.7, 4  server_download.go  Block2 at the server
//	                      client.go           the Client
//	sections 2.5, 4       client_upload.go    Block1 at the client
//	sections 2.4, 2.7     client_download.go  Block2 at the client
//	section 2.4           window.go           how many blocks to ask for ahead
//	                      client_window.go    asking for them
//	section 2.5           client_ahead.go     sending blocks before those before them are acknowledged
//	RFC 9175 section 3.4  tags.go             Request-Tags for operations that could be mixed up
//
// A request that fits one message, and whose response does, passes both wrappers untouched.
//
// Observation (section 2.6) goes around this package: a notification passes the Server like a
// response and leaves with the first block, and [Client.Complete] fetches the rest. So
// does what is left of a response to a multicast request (section 2.8).
//
// Not here: robust block transfer (RFC 9177), blocks of more than 1024 bytes over reliable
// transports (RFC 8323 section 6), and servers that act on each block by itself; the Client gets
// along with such servers.
package blockwise
