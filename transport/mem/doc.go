// Package mem is a network in memory for tests: datagrams between [Conn] values of one
// process, with the faults that UDP has, on demand and under control.
//
//	network := mem.NewNetwork(mem.Config{Seed: 1, Loss: 0.2, Delay: 50 * time.Millisecond})
//	server, err := network.Listen(netip.MustParseAddrPort("192.0.2.1:5683"))
//	client, err := network.Listen(netip.MustParseAddrPort("192.0.2.2:0"))
//
// It can lose, duplicate, delay, reorder and corrupt datagrams at random ([Config]) or as a script
// says ([Config.Filter]), cut a network in two ([Network.Cut]), answer with ICMP-like
// errors, carry groups on chosen interfaces ([Conn.Join]), give a host several interfaces and
// addresses ([Network.Host]), and move an endpoint to another public address as a NAT does
// that forgets ([Conn.Rebind]). [Network.Stats] counts all of it, so that a test can see that
// the fault it is about has happened.
//
// # Time and determinism
//
// The same seed and the same order of sending give the same faults. Every datagram takes the
// same amount of randomness whatever the configuration, so that changing one probability does not
// change what the others do. Nothing depends on the order of a map or on the scheduler as
// long as one goroutine sends at a time.
//
// Without delay, a datagram is in the receiver's queue when WriteBatch returns. With delay, time
// is that of package time, so that inside a bubble of testing/synctest it is virtual and a
// delay costs nothing. Everything that blocks does so on channels. Make the network inside the
// bubble. A network starts no goroutine but the one that a due timer runs for a moment.
//
// # What it is not
//
// It is one simplified internet. Routing is perfect between any two addresses, except that
// link-local addresses and groups stay on their link ([Interface].Link). There is no
// fragmentation, no bandwidth and no path MTU: to let long datagrams vanish on the way, drop them
// in a Filter. A NAT lets everybody in, not only those who were talked to.
//
// Sending and receiving allocate nothing in the steady state, as long as there is no Filter.
package mem
