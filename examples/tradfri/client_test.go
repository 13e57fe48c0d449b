package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/examples/tradfri/ipso"
)

func TestParseGateway(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1":            "192.0.2.1:5684",
		"192.0.2.1:1234":       "192.0.2.1:1234",
		"gw-b072bf2571ca":      "gw-b072bf2571ca:5684",
		"fe80::1%eth0":         "[fe80::1%eth0]:5684",
		"[2001:db8::1]":        "[2001:db8::1]:5684",
		"[2001:db8::1]:1":      "[2001:db8::1]:1",
		"":                     "",
		"coaps://192.0.2.1":    "",
		"not:an:address:or:so": "",
	} {
		got, err := parseGateway(text)
		require.Equal(t, want, got)
		require.Equal(t, want == "", err != nil, text)
	}
}

func TestDim(t *testing.T) {
	for text, want := range map[string]string{
		"50%": `{"5851":127}`, "0": `{"5851":0}`, "0%": `{"5851":0}`, "1%": `{"5851":3}`, "100%": `{"5851":254}`, "254": `{"5851":254}`,
	} {
		c, err := dim(text, 0)
		require.NoError(t, err)
		got, err := json.Marshal(c)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	for _, text := range []string{"", "%", "255", "101%", "-1", "half"} {
		_, err := dim(text, 0)
		require.Error(t, err, text)
	}
	c, err := dim("1", 1250*time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, 13, *c.Transition)
	for _, over := range []time.Duration{-1, time.Hour} {
		_, err = dim("1", over)
		require.Error(t, err)
	}
}

func TestParseTarget(t *testing.T) {
	for args, want := range map[string]string{"65537": "/15001/65537", "group 131073": "/15004/131073"} {
		got, err := parseTarget(strings.Fields(args))
		require.NoError(t, err)
		require.Equal(t, want, got.path())
	}
	for _, args := range []string{"", "hall", "group", "group hall", "bulb 1", "group 1 2"} {
		_, err := parseTarget(strings.Fields(args))
		require.Error(t, err, args)
	}
}

func TestDescribe(t *testing.T) {
	on, off, level, battery := ipso.Bool(true), ipso.Bool(false), 127, 60
	for want, d := range map[string]ipso.Device{
		"on 50% #efd275":             {Reachable: true, Lights: []ipso.Light{{State: ipso.State{On: &on, Level: &level, Color: "efd275"}}}},
		"off":                        {Reachable: true, Lights: []ipso.Light{{State: ipso.State{On: &off, Level: &level}}}},
		"on":                         {Reachable: true, Lights: []ipso.Light{{State: ipso.State{On: &on, Color: "0"}}}},
		"unknown, not reachable":     {Lights: []ipso.Light{{}}},
		"battery 60%":                {Reachable: true, Product: ipso.Product{Battery: &battery}},
		"battery 60%, not reachable": {Product: ipso.Product{Battery: &battery}},
	} {
		require.Equal(t, want, describe(&d))
	}
	require.Equal(t, "Küche", printable("Küche"))
	require.Equal(t, `"\x1b[2J"`, printable("\x1b[2J"), "nobody clears the screen")
}

func TestReadLine(t *testing.T) {
	for text, want := range map[string]string{"code\n": "code", "code\r\nmore": "code", " code ": "code"} {
		got, err := readLine(strings.NewReader(text))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "\n", "  \nmore"} {
		_, err := readLine(strings.NewReader(text))
		require.Error(t, err)
	}
}

func TestCredentials(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	file := filepath.Join(dir, "tradfri.json")
	_, err := load(file)
	require.ErrorContains(t, err, "pair with a gateway first")

	first := credentials{Gateway: "192.0.2.1:5684", Identity: "me", Key: "secret"}
	d, err := newDraft(file)
	require.NoError(t, err)
	require.NoError(t, d.keep(first))
	d.discard()
	got, err := load(file)
	require.NoError(t, err)
	require.Equal(t, first, got)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}

	d, err = newDraft(file) // of a pairing that fails
	require.NoError(t, err)
	d.discard()
	got, err = load(file)
	require.NoError(t, err)
	require.Equal(t, first, got)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left lying about")

	for _, text := range []string{"", "{}", `{"gateway":"a","identity":"b"}`} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err = load(file)
		require.ErrorContains(t, err, "pair anew")
	}
}
