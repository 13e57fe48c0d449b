package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/message"
)

// TestComplete asks as the script of a shell does.
func TestComplete(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want []string // among the lines
		not  []string
	}{
		{"commands", []string{"p"}, []string{"put", "post", "patch", "ping"}, []string{"get"}},
		{"URI", []string{"get", ""}, []string{"coap://", "coaps://"}, nil},
		{"only one URI", []string{"get", "coap://h/", ""}, nil, []string{"coap://"}},
		{"option names", []string{"get", "-o", ""}, []string{"Uri-Path=", "If-None-Match", "ETag="}, []string{"If-None-Match="}},
		{"option names by prefix", []string{"get", "--option", "uri"}, []string{"Uri-Path=", "Uri-Host="}, []string{"ETag="}},
		{"option value", []string{"get", "-o", "Accept="}, []string{"Accept=json", "Accept=cbor"}, []string{"Accept="}},
		{"option value that nobody knows", []string{"get", "-o", "Uri-Path="}, nil, []string{"Uri-Path="}},
		{"content format", []string{"put", "-t", ""}, []string{"text", "json", "senml+cbor", "16"}, []string{"application/json"}},
		{"accept", []string{"get", "-a", ""}, []string{"json"}, nil},
		{"block size", []string{"get", "-b", ""}, []string{"16", "512", "1024"}, []string{"8", "2048"}},
		{"URI to observe", []string{"observe", ""}, []string{"coap://"}, nil},
		{"nothing for --count", []string{"observe", "-n", ""}, nil, []string{"coap://"}},
		{"groups", []string{"discover", ""}, []string{"coap://", "coap://224.0.1.187", "coap://[ff02::fd]"}, nil},
		{"no groups for get", []string{"get", ""}, nil, []string{"coap://224.0.1.187"}},
		{"filter", []string{"discover", "--filter", ""}, []string{"rt=", "ct=", "href="}, nil},
		{"filter by content format", []string{"discover", "--filter", "ct="}, []string{"ct=0", "ct=50"}, []string{"rt="}},
		{"interface", []string{"get", "--interface", ""}, []string{anyInterface()}, nil},
		{"interface for serve", []string{"serve", "--group", "--interface", ""}, []string{anyInterface()}, nil},
		{"nothing for --window", []string{"discover", "--window", ""}, nil, []string{"coap://"}},
		{"nothing for serve", []string{"serve", ""}, nil, []string{"coap://"}},
		{"nothing for --psk", []string{"get", "--psk", ""}, nil, []string{"coap://"}},
		{"certificates", []string{"get", "--ca", ""}, []string{"pem", "crt"}, []string{"coap://"}},
		{"flags for credentials", []string{"ping", "--p"}, []string{"--psk", "--pin"}, nil},
		{"flags", []string{"serve", "--l"}, []string{"--loss", "--listen"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := runCLI(t, append([]string{"__complete"}, test.args...)...)
			require.Equal(t, exitSuccess, r.status, r.err)
			var got []string
			for line := range strings.Lines(r.out) {
				text, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
				got = append(got, text)
			}
			for _, want := range test.want {
				assert.Contains(t, got, want)
			}
			for _, not := range test.not {
				assert.NotContains(t, got, not)
			}
		})
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := runCLI(t, "completion", shell)
		assert.Equal(t, exitSuccess, r.status)
		assert.NotEmpty(t, r.out)
	}
}

// TestFormatCompletionsAreUnderstood parses every name that is proposed.
func TestFormatCompletionsAreUnderstood(t *testing.T) {
	all := formatCompletions()
	assert.Greater(t, len(all), 20)
	for _, c := range all {
		name, description, _ := strings.Cut(c, "\t")
		f, err := message.ParseContentFormat(name)
		require.NoError(t, err)
		assert.Equal(t, f.String(), description)
	}
}
