// Plugtest serves the resources of the ETSI CoAP plugtests, for the test suites and clients
// of other implementations:
//
//	go run ./examples/plugtest -listen 127.0.0.1:5683
//
// What a resource does follows from the RFCs; where they leave a choice, the test descriptions
// decide. Which descriptions need which resource, with the numbers of the 2014 edition:
//
//	/.well-known/core     TD_COAP_LINK_01 to 09
//	/test                 TD_COAP_CORE_01 to 08, 10, 12, 15, 18   core.go
//	/seg1/seg2/seg3       TD_COAP_CORE_13
//	/query                TD_COAP_CORE_14
//	/separate             TD_COAP_CORE_09, 11, 16, 17
//	/location-query       TD_COAP_CORE_19
//	/multi-format         TD_COAP_CORE_20
//	/validate             TD_COAP_CORE_21, 22
//	/create1              TD_COAP_CORE_23
//	/link1 /link2 /link3  TD_COAP_LINK_02 to 05, 07, 08           link.go
//	/path /path/sub1…3    TD_COAP_LINK_09
//	/large                TD_COAP_BLOCK_01, 02, 06, LINK_06       large.go
//	/large-update         TD_COAP_BLOCK_03
//	/large-create         TD_COAP_BLOCK_04
//	/large-post           TD_COAP_BLOCK_05
//	/obs                  TD_COAP_OBS_01, 04 to 12                changing.go
//	/obs-non              TD_COAP_OBS_02
//	/obs-reset            TD_COAP_OBS_04
//	/obs-large            observing a body of several blocks
//	/obs-pumping          observing what changes faster than it can be told
//
// TD_COAP_CORE_31, the ping, needs no resource.
//
// What the descriptions presume to exist exists in the beginning, and again after a DELETE: that
// brings back the first representation, below /obs with the next change. So the order of tests
// does not matter. The exception is /create1, which does not exist until
// it is made by PUT; DELETE it, or start the server afresh, to run TD_COAP_CORE_23 again.
//
// Clients can make the server keep a bounded number of representations of at most 64 KiB. Anybody
// who reaches it can change them: it is a server for tests.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/transport/udp"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("plugtest: ")
	listen := flag.String("listen", ":5683", "`address` to listen on, host:port; without host all addresses")
	verbose := flag.Bool("v", false, "show each message that is received or sent")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg := new(coap.Config)
	if *verbose {
		cfg.Trace = tracer(os.Stderr)
	}
	if err := run(ctx, *listen, cfg, os.Stderr); err != nil {
		log.Fatal(err)
	}
}

// grace is how long answers that are under way in the end have to arrive.
const grace = 5 * time.Second

// run serves on an address until ctx ends, then finishes what it has begun.
func run(ctx context.Context, listen string, cfg *coap.Config, out io.Writer) error {
	conn, err := udp.Listen(listen, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "serving on %v\n", conn.LocalAddr())
	s := newSite()
	cfg.ServeObserve.ConfirmFor = confirm
	// Test suites are older than the Echo option, and this is no server for the Internet.
	cfg.ServeEcho.Mode = echo.Off
	server := &coap.Server{Handler: s.mux(), Config: cfg}
	s.notify, s.forget = server.Notify, server.Forget
	working, stop := context.WithCancel(ctx)
	changing := s.start(working)
	defer changing.Wait()
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), conn) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := server.Shutdown(ending); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return <-served
}
