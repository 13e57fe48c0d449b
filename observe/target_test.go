package observe

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// What is observed is told apart by the options of the cache key, and by nothing else.
//
// Proves 7641-3.1-01, 7641-3.1-s05.
func TestTarget(t *testing.T) {
	plain, err := target(get(t))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		edit func(r *exchange.Request)
		same bool
	}{
		"Observe":       {option(message.OptionObserve, 0), true},
		"Size2":         {option(message.OptionSize2, 0), true},
		"Echo":          {func(r *exchange.Request) { r.Options.AddString(message.OptionEcho, "x") }, true},
		"Accept":        {func(r *exchange.Request) { r.Options.SetAccept(message.JSON) }, false},
		"a longer path": {func(r *exchange.Request) { r.Options.AddString(message.OptionURIPath, "b") }, false},
		"another query": {func(r *exchange.Request) { r.Options.SetString(message.OptionURIQuery, "unit=F") }, false},
		"FETCH":         {func(r *exchange.Request) { r.Code = message.FETCH }, false},
		"its payload": {func(r *exchange.Request) {
			r.Code = message.FETCH
			r.Payload = []byte("x")
		}, false},
		"another port":    {func(r *exchange.Request) { r.Authority.Port++ }, false},
		"another session": {func(r *exchange.Request) { r.Session = "s" }, false},
		"another server":  {func(r *exchange.Request) { r.Authority.Host = "192.0.2.2" }, false},
	} {
		req := get(t)
		c.edit(req)
		k, err := target(req)
		require.NoError(t, err)
		require.Equal(t, c.same, k == plain, name)
	}
}
