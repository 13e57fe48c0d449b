package dtls

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/coapkit/coap/transport"
)

// exportVersion changes when what is exported does.
const exportVersion = 1

// exported is a session as it is written down.
type exported struct {
	Client       bool
	Name         string
	Remote       netip.AddrPort
	Local        netip.AddrPort
	IfIndex      int
	Keys         keyBlock
	PSK          string
	Certificates [][]byte
}

// Export closes c without a word to its peers, and writes its sessions to w, for Import after a restart: their peers do not notice. What is
// above the sessions is lost: exchanges under way are repeated by those who have begun them, observations last until their observers
// miss a notification and register again.
//
// What is written lets whoever has it read and write everything in these sessions: keep it secret, import it once, and delete it. Two
// endpoints that go on with the same session break its encryption. The error is that of w, or net.ErrClosed.
func (c *Conn) Export(w io.Writer) error {
	all := c.shut(false)
	if all == nil {
		return net.ErrClosed
	}
	enc := gob.NewEncoder(w)
	if err := enc.Encode(exportVersion); err != nil {
		return fmt.Errorf("dtls: exporting sessions: %w", err)
	}
	for _, s := range all {
		x := exported{
			Client: s.client, Name: s.name, Remote: s.remote, Local: s.local, IfIndex: s.ifIndex, Keys: *s.keys, PSK: s.identity().PSK,
		}
		x.Keys.NextWrite, x.Keys.NextRead = s.nextSeq, s.window.next
		for _, cert := range s.identity().Certificates {
			x.Certificates = append(x.Certificates, cert.Raw)
		}
		if err := enc.Encode(&x); err != nil {
			return fmt.Errorf("dtls: exporting sessions: %w", err)
		}
	}
	return nil
}

// Import takes over the sessions that Export has written, and returns how many. It comes before anything else is done with c. Those
// that have a connection ID or an address in common with a session of c, or are more than Config.MaxSessions, are left out. The error says
// that r is damaged, or of another version.
func (c *Conn) Import(r io.Reader) (n int, err error) {
	dec := gob.NewDecoder(r)
	version := 0
	if err := dec.Decode(&version); err != nil {
		return 0, fmt.Errorf("dtls: importing sessions: %w", err)
	}
	if version != exportVersion {
		return 0, fmt.Errorf("dtls: importing sessions: they are of version %d, not %d: let the peers connect again", version, exportVersion)
	}
	for {
		var x exported
		if err := dec.Decode(&x); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, fmt.Errorf("dtls: importing sessions: %w", err)
		}
		s, err := x.session()
		if err != nil {
			return n, fmt.Errorf("dtls: importing sessions: %w", err)
		}
		if c.adopt(s) {
			n++
		}
	}
}

// session makes a session of what was written down.
func (x *exported) session() (*session, error) {
	chain, err := parseChain(x.Certificates)
	if err != nil {
		return nil, err
	}
	keys := x.Keys
	s := &session{client: x.Client, named: x.Client, name: x.Name, keys: &keys, remote: x.Remote, local: x.Local, ifIndex: x.IfIndex}
	s.handle = &transport.Session{Secure: true, Identity: &Identity{PSK: x.PSK, Certificates: chain}}
	return s, s.start()
}

// adopt puts s into the table, if there is a place for it.
func (c *Conn) adopt(s *session) bool {
	c.mu.Lock()
	_, known := c.byCID[string(s.keys.ReadCID)]
	if c.closed || known || c.byAddr[s.remote] != nil || len(c.sessions) >= c.cfg.MaxSessions || len(s.keys.ReadCID) > 0 && len(s.keys.ReadCID) != c.cfg.ConnectionID {
		c.mu.Unlock()
		return false
	}
	c.add(s, time.Now())
	c.mu.Unlock()
	c.tell(SessionEvent{Kind: SessionBegins, Addr: s.remote, Identity: *s.identity(), Client: s.client})
	return true
}
