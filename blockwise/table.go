package blockwise

import "time"

// table is what a Server keeps: unfinished uploads, and bodies of which peers may ask for more
// blocks. Every entry has been used at some time; all have the same lifetime, so the one that was
// used longest ago is the first to expire, and the first to go when room is needed. Guarded by
// Server.mu.
type table struct {
	lifetime            time.Duration
	maxBytes, maxOfPeer int

	uploads   map[key]*entry
	downloads map[key]*entry
	aliases   map[key]*entry // downloads, by the keys of requests without the payload of a FETCH
	snapshots map[snapshotKey]*snapshot
	peers     map[peerKey]*peer
	all       list
	bytes     int
	streams   int // uploads with a feed

	ended []ending // to be told when the lock is released
	stats Stats
}

// entry is one upload or one download of one peer.
type entry struct {
	key   key
	peer  *peer
	used  time.Time
	bytes int // it occupies
	share int // what it occupies of the share of its peer: snapshots count for each of theirs
	busy  bool
	links [2]links

	// One of them is not nil.
	up   *upload
	down *download
}

// ending is an entry that has left the table.
type ending struct {
	e      *entry
	reason Reason // 0 if it is complete
	busy   bool   // somebody still uses it
}

type peer struct {
	key     peerKey
	entries list
	count   int // entries, and completed uploads whose handlers still run
	bytes   int
	streams int
}

// entryBytes is the memory for an entry beside its key and body, roughly.
const entryBytes = 512

func newTable(lifetime time.Duration, maxBytes, maxOfPeer int) *table {
	t := &table{
		lifetime: lifetime, maxBytes: maxBytes, maxOfPeer: maxOfPeer,
		uploads: make(map[key]*entry), downloads: make(map[key]*entry), aliases: make(map[key]*entry),
		snapshots: make(map[snapshotKey]*snapshot), peers: make(map[peerKey]*peer),
	}
	t.all.init(0)
	return t
}

// where returns the map that e is in.
func (t *table) where(e *entry) map[key]*entry {
	if e.up != nil {
		return t.uploads
	}
	return t.downloads
}

// add puts e, whose key is set, into the table in place of what has the same key. It reports
// false if there is no room even after others have gone.
func (t *table) add(now time.Time, e *entry) bool {
	m := t.where(e)
	if old := m[e.key]; old != nil {
		t.end(old, ErrReplaced)
	}
	p := t.peers[e.key.peer]
	if p == nil {
		p = &peer{key: e.key.peer}
		p.entries.init(1)
		t.peers[p.key] = p
	}
	p.count++
	e.peer = p
	own := entryBytes + len(e.key.op)
	if !t.charge(e, own, own) {
		t.leave(p)
		return false
	}
	e.used = now
	t.all.push(e)
	p.entries.push(e)
	m[e.key] = e
	if e.up != nil && e.up.feed != nil {
		t.streams++
		p.streams++
	}
	return true
}

// charge makes room for e to grow, by having others go, oldest first. It reports false, and
// changes nothing, if there is no room.
func (t *table) charge(e *entry, bytes, share int) bool {
	if e.bytes+bytes > t.maxBytes || e.share+share > t.maxOfPeer {
		return false // whoever goes
	}
	if bytes > 0 && !t.makeRoom(&t.all, e, func() bool { return t.bytes+bytes > t.maxBytes }) {
		return false
	}
	if share > 0 && !t.makeRoom(&e.peer.entries, e, func() bool { return e.peer.bytes+share > t.maxOfPeer }) {
		return false
	}
	t.account(e, bytes, share)
	return true
}

func (t *table) makeRoom(l *list, keep *entry, tooMuch func() bool) bool {
	for tooMuch() {
		victim := l.oldest(keep)
		if victim == nil {
			return false
		}
		t.end(victim, ErrEvicted)
	}
	return true
}

func (t *table) account(e *entry, bytes, share int) {
	e.bytes += bytes
	e.share += share
	t.bytes += bytes
	e.peer.bytes += share
}

// touch notes that e is used.
func (t *table) touch(now time.Time, e *entry) {
	if !e.listed() {
		return
	}
	e.used = now
	t.all.remove(e)
	t.all.push(e)
	e.peer.entries.remove(e)
	e.peer.entries.push(e)
}

// end takes e out of the table. reason is 0 if it is complete.
func (t *table) end(e *entry, reason Reason) {
	if !e.listed() {
		return
	}
	t.detach(e)
	t.release(e)
	t.ended = append(t.ended, ending{e, reason, e.busy})
	switch reason {
	case ErrEvicted:
		t.stats.Evicted++
	case ErrExpired:
		t.stats.Expired++
	case ErrReplaced:
		if e.up != nil {
			t.stats.Replaced++
		}
	}
}

// detach takes e out of the table, but what it occupies stays accounted for until release.
func (t *table) detach(e *entry) {
	if m := t.where(e); m[e.key] == e {
		delete(m, e.key)
	}
	t.all.remove(e)
	e.peer.entries.remove(e)
	if e.up != nil && e.up.feed != nil {
		t.streams--
		e.peer.streams--
	}
	if e.down != nil && t.aliases[e.down.alias] == e {
		delete(t.aliases, e.down.alias)
	}
}

// upload returns what the peer is sending, or nil.
func (t *table) upload(p peerKey, op []byte) *entry { return t.uploads[key{p, string(op)}] }

// download returns what the peer may ask for more of by a request for this selection, or nil.
func (t *table) download(p peerKey, selection []byte) *entry {
	if e := t.downloads[key{p, string(selection)}]; e != nil {
		return e
	}
	return t.aliases[key{p, string(selection)}]
}

// release gives back what a detached entry occupies.
func (t *table) release(e *entry) {
	t.account(e, -e.bytes, -e.share)
	if e.down != nil && e.down.snap != nil {
		t.unshare(e.down.snap)
	}
	t.leave(e.peer)
}

func (t *table) leave(p *peer) {
	if p.count--; p.count == 0 {
		delete(t.peers, p.key)
	}
}

// first returns the entry that will expire first, or nil.
func (t *table) first() *entry {
	if e := t.all.root.links[0].next; e != &t.all.root {
		return e
	}
	return nil
}

// expire ends what was not used for the lifetime.
func (t *table) expire(now time.Time) {
	for {
		e := t.first()
		if e == nil || e.used.Add(t.lifetime).After(now) {
			return
		}
		if e.busy {
			t.touch(now, e) // it is being used all the time
			continue
		}
		t.end(e, ErrExpired)
	}
}

// links connects an entry to its neighbours in one list.
type links struct{ prev, next *entry }

// list is a ring of entries, the one used longest ago first. Each entry can be in two: that of all
// and that of its peer.
type list struct {
	root  entry
	which int
}

func (l *list) init(which int) {
	l.which = which
	l.root.links[which] = links{&l.root, &l.root}
}

func (l *list) push(e *entry) {
	before := l.root.links[l.which].prev
	e.links[l.which] = links{before, &l.root}
	before.links[l.which].next = e
	l.root.links[l.which].prev = e
}

func (l *list) remove(e *entry) {
	k := &e.links[l.which]
	k.prev.links[l.which].next = k.next
	k.next.links[l.which].prev = k.prev
	*k = links{}
}

// oldest returns the entry used longest ago that is not busy and not keep, or nil.
func (l *list) oldest(keep *entry) *entry {
	for e := l.root.links[l.which].next; e != &l.root; e = e.links[l.which].next {
		if !e.busy && e != keep {
			return e
		}
	}
	return nil
}

// oldestStream returns the streamed upload used longest ago that is not busy, or nil.
func (l *list) oldestStream() *entry {
	for e := l.root.links[l.which].next; e != &l.root; e = e.links[l.which].next {
		if !e.busy && e.up != nil && e.up.feed != nil {
			return e
		}
	}
	return nil
}

func (e *entry) listed() bool { return e.links[0].next != nil }
