//go:build unix

package coap_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"

	"github.com/coapkit/coap/transport/udp"
)

// The lengths of the datagrams of a download in blocks of 1024 bytes.
const (
	benchBlocks   = 1024
	benchRequest  = 4 + 8 + 5 + 4
	benchResponse = 4 + 8 + 3 + 6 + 1 + 1024
)

// BenchmarkBlocks downloads 1 MiB in blocks of 1024 bytes over the loopback interface, one at a time
// and in windows, in turn with as many round trips of plain datagrams of the same lengths. A metric
// x/pingpong is the median of the time of the former by that of the latter in the same turn, x-cpu/pingpong
// of the CPU time of both sides and the kernel.
//
//	go test -run '^$' -bench BenchmarkBlocks -benchtime 30x .
func BenchmarkBlocks(b *testing.B) {
	body := pattern(benchBlocks*1024, 1)
	mux := coap.NewMux()
	mux.HandleFunc("GET /kept", func(w *coap.Response, r *coap.Request) error {
		w.SetETag([]byte("1"))
		w.Payload = body
		return nil
	})
	mux.HandleFunc("GET /read", func(w *coap.Response, r *coap.Request) error {
		return w.Content(bytes.NewReader(body), []byte("1"))
	})
	// Message IDs must not run out.
	params := coap.Params{AckTimeout: time.Second, MaxRetransmit: 1, MaxLatency: time.Millisecond}
	server, err := udp.Listen("127.0.0.1:0", nil)
	require.NoError(b, err)
	endpoint(b, server, mux, &coap.Config{Params: params})
	download := func(path string, window int) func() {
		p := params
		p.NStart = max(window, 1)
		conn, err := udp.Listen("127.0.0.1:0", nil)
		require.NoError(b, err)
		c := &coap.Client{Endpoint: endpoint(b, conn, nil, &coap.Config{Params: p, SendBlocks: blockwise.ClientConfig{Window: window}})}
		req := request(b, coap.GET, server.LocalAddr(), path)
		resp := new(coap.Response)
		return func() {
			require.NoError(b, c.Do(context.Background(), req, resp))
			require.True(b, bytes.Equal(body, resp.Payload))
		}
	}
	runs := []struct {
		name string
		run  func()
		took []float64
		cpu  []float64
		objs uint64
	}{
		{name: "pingpong", run: pingPong(b)},
		{name: "one", run: download("/kept", 0)},
		{name: "one-read", run: download("/read", 0)},
		{name: "window16", run: download("/kept", 16)},
		{name: "window32", run: download("/kept", 32)},
	}
	for b.Loop() {
		var plain, plainCPU float64
		for i := range runs {
			r := &runs[i]
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start, startCPU := time.Now(), cpuTime()
			r.run()
			took, cpu := float64(time.Since(start)), float64(cpuTime()-startCPU)
			runtime.ReadMemStats(&after)
			if r.objs += after.Mallocs - before.Mallocs; i == 0 {
				plain, plainCPU = took, cpu
				r.took = append(r.took, took/benchBlocks/1000)
				continue
			}
			r.took, r.cpu = append(r.took, took/plain), append(r.cpu, cpu/plainCPU)
		}
	}
	for _, r := range runs {
		slices.Sort(r.took)
		median := r.took[len(r.took)/2]
		if r.name == "pingpong" {
			b.ReportMetric(median, "us/pingpong")
			continue
		}
		slices.Sort(r.cpu)
		b.ReportMetric(median, r.name+"/pingpong")
		b.ReportMetric(r.cpu[len(r.cpu)/2], r.name+"-cpu/pingpong")
		b.ReportMetric(float64(r.objs)/float64(b.N)/benchBlocks, r.name+"-allocs/block")
	}
}

// cpuTime returns what the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// pingPong returns what makes round trips of plain datagrams between two goroutines.
func pingPong(b *testing.B) func() {
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(b, err)
		b.Cleanup(func() { c.Close() })
		return c
	}
	client, server := listen(), listen()
	go func() {
		in, out := make([]byte, 2048), make([]byte, benchResponse)
		for {
			_, from, err := server.ReadFromUDPAddrPort(in)
			if err != nil {
				return
			}
			server.WriteToUDPAddrPort(out, from)
		}
	}()
	to := netip.MustParseAddrPort(server.LocalAddr().String())
	in, out := make([]byte, 2048), make([]byte, benchRequest)
	return func() {
		for range benchBlocks {
			client.WriteToUDPAddrPort(out, to)
			client.ReadFromUDPAddrPort(in)
		}
	}
}
