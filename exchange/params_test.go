package exchange

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The defaults are those of RFC 7252 table 2.
//
// Proves 7252-4.7-01, 7252-4.8.1-02.
func TestDefaults(t *testing.T) {
	p := Params{}.WithDefaults()
	require.Equal(t, 2*time.Second, p.AckTimeout)
	require.Equal(t, 1.5, p.AckRandomFactor)
	require.Equal(t, 4, p.MaxRetransmit)
	require.Equal(t, 1, p.NStart)
	require.Equal(t, 5*time.Second, p.DefaultLeisure)
	require.Equal(t, 1.0, p.ProbingRate)
	require.Equal(t, 100*time.Second, p.MaxLatency)
}

// The derived time values of the default parameters are those of RFC 7252 table 3.
func TestDerivedTimes(t *testing.T) {
	p := Params{}.WithDefaults()
	require.Equal(t, 45*time.Second, p.MaxTransmitSpan())
	require.Equal(t, 93*time.Second, p.MaxTransmitWait())
	require.Equal(t, 247*time.Second, p.ExchangeLifetime())
	require.Equal(t, 145*time.Second, p.NonLifetime())
	require.Equal(t, 247*time.Second, p.ResponseTimeout)
	require.Equal(t, 500*time.Millisecond, p.EmptyAckDelay)

	// With a last waiting period above MAX_LATENCY, section 4.8.2 no longer simplifies.
	long := Params{MaxRetransmit: 7}.WithDefaults()
	last := long.MaxTransmitWait() - long.MaxTransmitSpan()
	require.Greater(t, last, long.MaxLatency)
	require.Equal(t, long.MaxTransmitSpan()+last-long.MaxLatency+202*time.Second, long.ExchangeLifetime())

	never := Params{MaxRetransmit: -1}.WithDefaults()
	require.Zero(t, never.MaxRetransmit)
	require.Zero(t, never.MaxTransmitSpan())
}

// Proves 7252-4.8.1-03.
func TestValidate(t *testing.T) {
	for name, p := range map[string]Params{
		"AckTimeout":      {AckTimeout: -1},
		"AckRandomFactor": {AckRandomFactor: 0.99},
		"MaxRetransmit":   {MaxRetransmit: 21},
		"NStart":          {NStart: -1},
		"MaxLatency":      {MaxLatency: -1},
	} {
		require.ErrorContains(t, p.Validate(), name)
	}
	require.NoError(t, Params{}.Validate())
	require.NoError(t, Params{AckRandomFactor: 1, MaxRetransmit: -1, ProbingRate: -1, EmptyAckDelay: -1, DefaultLeisure: -1}.Validate())

	for name, l := range map[string]Limits{
		"MessageSize":     {MessageSize: 63},
		"TokenLength":     {TokenLength: 7},
		"Peers":           {Peers: -1},
		"RememberedBytes": {RememberedBytes: -1},
	} {
		require.ErrorContains(t, l.Validate(), name)
	}
	require.NoError(t, Limits{}.Validate())
	require.NoError(t, Limits{}.WithDefaults().Validate())
}
