// Command simulate runs clients, servers and a bad network in one process and virtual time, and
// looks whether the library keeps its promises. All that happens follows from a number, the seed.
//
//	go test ./internal/simulate                                # a few hundred seeds
//	go run ./internal/simulate -seeds 100000 -first 5000       # many, on all cores
//	go run ./internal/simulate -seed 4711                      # one, with all its messages
//
// A seed means a plan (plan.go): two or three servers and seven or eight clients, who get, post,
// observe, upload, download and ask groups for two minutes, while some twenty faults
// befall them: loss, duplication, reordering, corruption, copies from the address of somebody else,
// NAT rebinding, partitions, restarts, suspended and sleeping hosts. Then the faults cease, everything has to
// work again, and after a while nothing must be left.
//
// # What is checked
//
//   - Each request ends once, in bounded time, with its own answer or with an error of a known
//     type that something explains (judge.go).
//   - A handler that counts runs at most once per request, source address and life of the server.
//   - What a server assembles is what a client has sent, and the other way round.
//   - An observer is never told an older value after a newer one, and has the last value when the
//     faults have ceased.
//   - The sizes in Stats are within the limits whenever a datagram is read or written.
//   - When the faults have ceased each client has an answer at once; when all lifetimes are over all
//     tables are empty; when all is closed no goroutine is left, and, looked at in one
//     seed of 16, nothing refers to an endpoint any more, be it a timer.
//
// # When it fails
//
// It prints the seed, the shortest plan that fails in the same way (shrink.go) and the messages between
// those who are concerned (chart.go). A mistake is mended when -seed passes.
//
// # Determinism
//
// The fate of a datagram follows from the seed, the time, the ends and the bytes, so that the order in
// which goroutines send at one instant does not matter to it, and leaving out one fault does not
// change the others. Delays are odd numbers of nanoseconds, so that hardly anything is due at
// the same time. Randomness of the library is fixed by package entropy. The process runs one
// goroutine at a time and collects no garbage during a seed. What remains is that the scheduler may
// preempt a goroutine after 10 ms of real time while another one is ready at the same instant, which is
// rare and happens on busy machines, above all when a host goes on after a suspension and many
// requests are served at once; and the race detector, which schedules at random. A failure that
// -seed does not show again shows in another run of the same seed.
package main
