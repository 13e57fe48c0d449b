package dtls

// Stats are the counters of a [Conn].
type Stats struct {
	Sessions   int // that there are now
	Handshakes int // that are unfinished now

	Begun   uint64          // sessions
	Ended   uint64          // sessions
	EndedBy [endings]uint64 // by Ending
	Moved   uint64          // to another address, by a connection ID

	Started    uint64         // handshakes
	Failed     [causes]uint64 // handshakes, by Cause
	NotStarted uint64         // handshakes of others, since there were too many
	Resumed    uint64         // sessions that were begun from an earlier one

	Malformed    uint64 // datagrams that are no records of DTLS 1.2
	Unknown      uint64 // records that belong to no session and no handshake
	NotAuthentic uint64 // records that could not be opened, or came twice
	Undelivered  uint64 // reports about what was not sent here
	Lost         uint64 // datagrams for handshakes that had too many already
}
