package observe

// End says why an observer was removed from the list.
type End uint8

// The fates of observers.
const (
	// EndDeregistered: the client said so, with Observe=1 (RFC 7641 section 3.6).
	EndDeregistered End = iota
	// EndReset: the client rejected a notification (section 4.5).
	EndReset
	// EndTimeout: no retransmission of a notification was acknowledged (section 4.5).
	EndTimeout
	// EndUnreachable: the network says that the client cannot be reached.
	EndUnreachable
	// EndError: the resource, or another attempt to register, was answered with an error, which
	// was sent (section 4.2).
	EndError
	// EndFormat: the content format has changed; 4.06 was sent (section 4.2).
	EndFormat
	// EndReplaced: the same client observes another resource with the same token.
	EndReplaced
	// EndUnsendable: the notification cannot be encoded or is too large; 5.00 was sent.
	EndUnsendable
	// EndClosed: the Server or the endpoint was closed, or has forgotten the observer by Forget.
	EndClosed
	// EndSession: the secure session of the registration has ended.
	EndSession

	numEnds = iota
)

var endNames = [numEnds]string{
	"deregistered", "reset", "timed out", "unreachable", "error response", "content format changed", "replaced", "unsendable", "closed", "session ended",
}

// String returns a few words.
func (e End) String() string {
	if int(e) < len(endNames) {
		return endNames[e]
	}
	return "unknown"
}

// Stats are the sizes of the tables of a Server and what has happened to it so far.
type Stats struct {
	// Observers, Peers and Resources are how many there are now.
	Observers, Peers, Resources int
	// Registered counts observers that were added; an observer that registers again is not
	// counted again.
	Registered uint64
	// Refused counts requests that were answered without registering because of a limit.
	Refused uint64
	// Rendered counts calls of the handler for notifications.
	Rendered uint64
	// Confirmable and NonConfirmable count notifications sent.
	Confirmable, NonConfirmable uint64
	// Coalesced counts changes that an observer was not told of because a newer one followed
	// before it could be.
	Coalesced uint64
	// Superseded counts confirmable notifications that were not retransmitted since a newer one was
	// sent in their place (RFC 7641 section 4.5.2).
	Superseded uint64
	// Postponed counts notifications that the endpoint had no room for; they are tried again.
	Postponed uint64
	// Ended counts removed observers by their fate.
	Ended [numEnds]uint64
}

// Stats returns the present numbers.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Observers, st.Peers, st.Resources = s.count, s.clients.n, len(s.resources)
	return st
}

// Observers returns how many observers there are of the resources at a path, whatever their query.
func (s *Server) Observers(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	if res := s.resources[normalPath(path)]; res != nil {
		for _, g := range res.inTurn {
			n += len(g.observers)
		}
	}
	return n
}
