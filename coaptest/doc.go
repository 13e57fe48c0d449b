// Package coaptest tests handlers, servers and clients without a network, as
// net/http/httptest does for HTTP. It needs nothing but the standard library and package testing.
//
// [Serve] asks a handler one question and returns the answer:
//
//	req, _ := coap.NewRequest(coap.GET, "/temperature")
//	resp := coaptest.Serve(mux, req)
//
// [NewServer] starts a server on a simulated network, with a client next to it. The
// network can lose, delay and duplicate messages and move a client to another address:
//
//	func TestOverBadNetwork(t *testing.T) {
//		coaptest.Run(t, func(t *testing.T) {
//			s := coaptest.NewServer(t, mux, nil)
//			s.Network.SetConfig(mem.Config{Loss: 0.2, Delay: 50 * time.Millisecond})
//			s.Network.Drop("ACK 2.05") // the first answer
//			resp, err := s.Client.Get(t.Context(), "/temperature")
//			…
//		})
//	}
//
// [Run] makes time virtual: two minutes of retransmissions take no time, and the same test
// gives the same times. [Pass] lets time pass.
//
// [NewPeer] makes a scripted peer, which sends and expects single messages, as a client of the
// server under test or as a server for the client under test:
//
//	func TestSeparateResponse(t *testing.T) {
//		coaptest.Run(t, func(t *testing.T) {
//			n := coaptest.NewNetwork(t, mem.Config{})
//			p := coaptest.NewPeer(t, n, netip.AddrPort{})
//			client := n.NewClient(t, nil)
//			call := coaptest.Go(func() (*coap.Response, error) {
//				return client.Get(t.Context(), p.URL+"/temperature")
//			})
//			p.Expect("CON GET path=temperature")
//			p.Answer("ACK 0.00")
//			coaptest.Pass(10 * time.Second)
//			p.Answer("CON 2.05 pay=21")
//			p.Expect("ACK 0.00 # of the answer")
//			resp, err := call.Wait()
//			…
//		})
//	}
//
// When a test has failed, whatever the reason, its network logs the chart of the messages that crossed it:
//
//	seconds
//	  0.000  192.0.2.2:49152 ------> 192.0.2.1:5683  CON GET mid=0x7d34 tok=51 path=temperature
//	  0.000  192.0.2.2:49152  X----- 192.0.2.1:5683  ACK 2.05 mid=0x7d34 tok=51 Content-Format:0 pay=21  (lost)
//	  2.713  192.0.2.2:49152 ------> 192.0.2.1:5683  CON GET mid=0x7d34 tok=51 path=temperature
//
// # Lines
//
// A message is one line, in scripts and in charts:
//
//	line  = type code word... [# comment]
//	type  = CON | NON | ACK | RST | *
//	code  = GET | POST | ... | 0.00 | 2.05 | 4.04 | ... | *
//	word  = mid=7 or mid=0x7d34     message ID
//	      | tok=0a1b                token in hexadecimal digits, tok= for the empty one
//	      | path=a/b                Uri-Path options, one for each segment; path=/ for none
//	      | query=unit=C            a Uri-Query option
//	      | Name or Name:value      an option by its registered name, see below
//	      | opt=2050:00ff           an option by number, its value in hexadecimal digits
//	      | pay=hello               payload, pay= for none
//
// Type, code, and the names of the words are written as here; case matters except for names of options.
// The value of an option is written as its format asks: Max-Age:60, Content-Format:json or :50,
// Uri-Host:example, If-None-Match; 0x and hexadecimal digits do for all. Text with spaces, or
// with a quote at its beginning or an odd number of them, is quoted as in Go: pay="hello world\n". The comment says what the line is
// for, and is part of the failure.
//
// In a line that is sent, a message ID that is left out is chosen, and everything else is absent. In a line that
// is expected, what is left out may be anything, and so may a type or code that is written *. An
// option that is named has to be there with these values, in this order; others may be there.
//
// Functions that take a line take a format and arguments, as fmt.Sprintf does. What is wrong in a line ends the
// test with an error that names the word.
package coaptest
