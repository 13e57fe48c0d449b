package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/udp"
	gocoap "github.com/plgd-dev/go-coap/v3/udp/client"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
)

// clientTask says what the process of a client does.
type clientTask struct {
	Who  string // ours, gocoap
	Do   string // get: requests for a time; flight: all at once; blocks: /big several times
	To   netip.AddrPort
	Time time.Duration

	Goroutines int // get
	Devices    int // get, flight: how many to talk to
	Times      int // blocks
	Window     int // blocks: how many at a time, 0 for one after the other
}

// clientOutcome is what came of it.
type clientOutcome struct {
	Requests   uint64
	Seconds    float64
	CPU        time.Duration
	Mallocs    uint64
	Goroutines int     // while all is under way
	Heap       float64 // bytes that the requests under way take
	Transfers  []float64
	Error      string `json:",omitempty"`
}

// beClient is the process of a client.
func beClient(arg string) error {
	var t clientTask
	if err := json.Unmarshal([]byte(arg), &t); err != nil {
		return err
	}
	do := map[string]func(clientTask) (clientOutcome, error){
		"ours get": oursGet, "ours flight": oursFlight, "ours blocks": oursBlocks,
		"gocoap get": goCoAPGet, "gocoap blocks": goCoAPBlocks,
	}[t.Who+" "+t.Do]
	if do == nil {
		return errors.New("no such client: " + t.Who + " " + t.Do)
	}
	out, err := do(t)
	if err != nil {
		out.Error = err.Error()
	}
	reply(out)
	return nil
}

// forTime calls a function that makes a request in each of several goroutines until the time is over.
func forTime(t clientTask, request func(ctx context.Context, goroutine, i int) error) (clientOutcome, error) {
	var (
		out      clientOutcome
		requests atomic.Uint64
		failed   atomic.Pointer[error]
		end      atomic.Bool
		all      sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for g := range t.Goroutines {
		all.Go(func() {
			for i := 0; !end.Load(); i++ {
				if err := request(ctx, g, i); err != nil {
					if end.Load() {
						return // it was canceled
					}
					why := err // which is allocated, unlike err
					failed.CompareAndSwap(nil, &why)
					return
				}
				requests.Add(1)
			}
		})
	}
	time.Sleep(t.Time / 5)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	n, mallocs, cpu, from := requests.Load(), m.Mallocs, cpuTime(0), time.Now()
	time.Sleep(t.Time)
	out.Seconds, out.CPU, out.Requests = time.Since(from).Seconds(), cpuTime(0)-cpu, requests.Load()-n
	runtime.ReadMemStats(&m)
	out.Mallocs = m.Mallocs - mallocs
	end.Store(true)
	stuck := time.AfterFunc(time.Second, cancel) // after a datagram was lost
	defer stuck.Stop()
	all.Wait()
	if err := failed.Load(); err != nil {
		return out, *err
	}
	return out, nil
}

// devicesOf returns the devices that a goroutine asks in turn: an even share of all.
func devicesOf(t clientTask, g int) []netip.AddrPort {
	var mine []netip.AddrPort
	for i := g; i < max(t.Devices, t.Goroutines); i += t.Goroutines {
		mine = append(mine, deviceAddr(t.To.Port(), i%t.Devices))
	}
	return mine
}

func oursGet(t clientTask) (clientOutcome, error) {
	var c coap.Client
	defer c.Close()
	type worker struct {
		reqs []*coap.Request
		resp coap.Response
	}
	workers := make([]worker, t.Goroutines)
	for g := range workers {
		for _, d := range devicesOf(t, g) {
			req, err := coap.NewRequest(coap.GET, "coap://"+d.String()+"/t")
			if err != nil {
				return clientOutcome{}, err
			}
			req.To = d
			workers[g].reqs = append(workers[g].reqs, req)
		}
	}
	return forTime(t, func(ctx context.Context, g, i int) error {
		w := &workers[g]
		return c.Do(ctx, w.reqs[i%len(w.reqs)], &w.resp)
	})
}

// oursFlight has a request under way to each of many devices, in one goroutine.
func oursFlight(t clientTask) (clientOutcome, error) {
	var out clientOutcome
	cfg := &coap.Config{Limits: coap.Limits{Exchanges: 2 * t.Devices}}
	c := coap.Client{Config: cfg}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	before, from, cpu := ownSizes(), time.Now(), cpuTime(0)
	all := make([]exchange.Responses, t.Devices)
	req, err := coap.NewRequest(coap.GET, "coap://device/t")
	if err != nil {
		return out, err
	}
	for i := range all {
		req.To = deviceAddr(t.To.Port(), i)
		if all[i], err = c.Open(ctx, req); err != nil {
			return out, err
		}
		if i == len(all)-2 { // the last one makes the devices answer
			now := ownSizes()
			out.Goroutines, out.Heap = now.Goroutines, float64(now.Heap)-float64(before.Heap)
		}
	}
	var resp coap.Response
	for _, r := range all {
		if err := r.Next(ctx, &resp); err != nil {
			return out, err
		}
		if err := resp.Err(); err != nil {
			return out, err
		}
		out.Requests++
		if err := r.Close(); err != nil {
			return out, err
		}
	}
	out.Seconds, out.CPU = time.Since(from).Seconds(), cpuTime(0)-cpu
	return out, nil
}

func oursBlocks(t clientTask) (clientOutcome, error) {
	cfg := &coap.Config{}
	cfg.SendBlocks.Window, cfg.Params.NStart = t.Window, t.Window
	c := coap.Client{Config: cfg}
	defer c.Close()
	return transfers(t, func(ctx context.Context) ([]byte, error) {
		resp, err := c.Get(ctx, "coap://"+t.To.String()+"/big")
		if err != nil {
			return nil, err
		}
		return resp.Payload, resp.Err()
	})
}

// transfers times several downloads.
func transfers(t clientTask, get func(context.Context) ([]byte, error)) (clientOutcome, error) {
	var out clientOutcome
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cpu := cpuTime(0)
	for range t.Times {
		from := time.Now()
		body, err := get(ctx)
		if err != nil {
			return out, err
		}
		out.Transfers = append(out.Transfers, time.Since(from).Seconds())
		if !bytes.Equal(body, longBody) {
			return out, fmt.Errorf("the body has %d bytes that are not those of the server", len(body))
		}
	}
	out.CPU = (cpuTime(0) - cpu) / time.Duration(t.Times)
	return out, nil
}

func goCoAPGet(t clientTask) (clientOutcome, error) {
	conns := make([]*gocoap.Conn, t.Devices)
	for i := range conns {
		var err error
		// As many requests to a device at a time as there are goroutines for it.
		conns[i], err = udp.Dial(deviceAddr(t.To.Port(), i).String(),
			options.WithTransmission(uint32(max(1, t.Goroutines/t.Devices)), 2*time.Second, 4))
		if err != nil {
			return clientOutcome{}, err
		}
		defer conns[i].Close()
	}
	return forTime(t, func(ctx context.Context, g, i int) error {
		conn := conns[(g+i*t.Goroutines)%t.Devices]
		m, err := conn.Get(ctx, "/t")
		if err != nil {
			return err
		}
		conn.ReleaseMessage(m)
		return nil
	})
}

func goCoAPBlocks(t clientTask) (clientOutcome, error) {
	conn, err := udp.Dial(t.To.String())
	if err != nil {
		return clientOutcome{}, err
	}
	defer conn.Close()
	return transfers(t, func(ctx context.Context) ([]byte, error) {
		m, err := conn.Get(ctx, "/big")
		if err != nil {
			return nil, err
		}
		return m.ReadBody()
	})
}
