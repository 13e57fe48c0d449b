// Package codec turns messages into bytes and back, one file per framing. So far there is
// the datagram framing of RFC 7252 section 3 with the extended tokens of RFC 8974, used over
// UDP and DTLS.
//
// Encoding appends to the caller's slice, decoding makes views into the caller's bytes;
// neither allocates nor keeps anything. Malformed bytes give a [message.FormatError]. The
// functions keep no state and may be called concurrently.
//
//	AppendUDP, DecodeUDP  a whole message
//	ParseHeader           enough to drop, deduplicate or reject it
//	Explain               field by field, for people
package codec
