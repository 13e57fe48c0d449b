package fuzz

import "encoding/hex"

// captures are datagrams that coap-client and coap-server of libcoap 4.3.1 have sent.
var captures = []struct{ what, hex string }{
	{"GET with a query", "41019b560172b2734474696d6546756e69743d73"},
	{"registration of an observer", "41011620016012b2734474696d65"},
	{"first block of a PUT, with Size1 and Request-Tag", "41038acd0172b27343626f78d1030ad114c8d4dbbf8e6769ff" +
		"78787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878"},
	{"NON POST", "5102f53f0172b2734161016210ff6869"},
	{"GET of a later block, with Accept", "4101d14f0172b2734b2e77656c6c2d6b6e6f776e04636f726561286122"},
	{"first block of /.well-known/core, with ETag and Size2", "614500010141018128b10a5197ff3c2f3e3b7469746c653d2247656e6572616c20496e666f" +
		"223b63743d302c3c2f74696d653e3b69663d22636c6f636b223b72743d227469636b73223b7469746c"},
	{"response to a registration", "614500020261028101ff4e6f762032332031323a32343a3434"},
	{"4.04 with a diagnostic", "6184000303ff4e6f7420466f756e64"},
	{"answer to a ping", "70000004"},
	{"4.02 that repeats the option", "6182000505e1fcf400ff426164204f7074696f6e"},
}

// captured returns the datagrams.
func captured() (all [][]byte) {
	for _, c := range captures {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			panic(c.what + ": " + err.Error())
		}
		all = append(all, b)
	}
	return all
}
