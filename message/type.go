package message

import "strconv"

// Type is the message type (RFC 7252 section 3): how the message layer treats it.
type Type uint8

// The four types. [RFC 7252 section 4] says what each may carry.
//
// [RFC 7252 section 4]: https://www.rfc-editor.org/rfc/rfc7252#section-4
const (
	Confirmable     Type = 0 // CON: is retransmitted until it is acknowledged or reset
	NonConfirmable  Type = 1 // NON: is sent once and never acknowledged
	Acknowledgement Type = 2 // ACK: answers a CON, may carry the response
	Reset           Type = 3 // RST: rejects a CON or NON, always Empty
)

// String returns the abbreviation of the RFC: CON, NON, ACK or RST.
func (t Type) String() string {
	switch t {
	case Confirmable:
		return "CON"
	case NonConfirmable:
		return "NON"
	case Acknowledgement:
		return "ACK"
	case Reset:
		return "RST"
	}
	return "Type(" + strconv.Itoa(int(t)) + ")"
}
