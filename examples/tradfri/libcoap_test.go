package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/examples/tradfri/gateway"
	"github.com/coapkit/coap/examples/tradfri/ipso"
	"github.com/coapkit/coap/transport/dtls"
)

// What people type who have a gateway and the client of libcoap does the same here.
func TestLibcoapClient(t *testing.T) {
	for _, client := range []string{"coap-client-openssl", "coap-client-gnutls"} {
		t.Run(client, func(t *testing.T) {
			if _, err := exec.LookPath(client); err != nil {
				if os.Getenv("COAPKIT_REQUIRE_PEERS") == "1" {
					t.Fatal(client + " is required by COAPKIT_REQUIRE_PEERS=1 but missing; install libcoap3-bin (Debian)")
				}
				t.Skip(client + " is missing; install libcoap3-bin (Debian)")
			}
			testLibcoapClient(t, client)
		})
	}
}

func testLibcoapClient(t *testing.T, client string) {
	g := gateway.New("sesame")
	conn, err := dtls.Listen("127.0.0.1:0", &dtls.Config{PSK: g.Key})
	require.NoError(t, err)
	var server coap.Server
	server.Handler = g.Handler(server.Notify)
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), conn) }()
	defer func() {
		require.NoError(t, server.Close())
		require.NoError(t, <-served)
	}()
	id := g.AddBulb("Hall", "W")
	ask := func(identity, key, method, path, body string) string {
		t.Helper()
		args := []string{"-B", "5", "-u", identity, "-k", key, "-m", method}
		if body != "" {
			args = append(args, "-e", body)
		}
		out, err := exec.Command(client, append(args, "coaps://"+conn.LocalAddr().String()+path)...).Output()
		require.NoError(t, err)
		return string(out)
	}
	var paired ipso.Paired
	require.NoError(t, json.Unmarshal([]byte(ask(ipso.PairingIdentity, "sesame", "post", ipso.Pairing, `{"9090":"me"}`)), &paired))
	require.Equal(t, "[65536]\n", ask("me", paired.Key, "get", ipso.Devices, ""))
	ask("me", paired.Key, "put", ipso.Devices+"/65536", `{"3311":[{"5851":127}]}`)
	var d ipso.Device
	require.NoError(t, json.Unmarshal([]byte(ask("me", paired.Key, "get", ipso.Devices+"/65536", "")), &d))
	require.Equal(t, id, d.ID)
	require.Equal(t, "on 50%", describe(&d))
}
