package observe

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// When one of the later blocks of a notification is refused, the error is not told as the value.
func TestLaterBlockRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := observing(t, ClientConfig{Complete: func(ctx context.Context, req *exchange.Request, first *exchange.Response) error {
			first.Reset()
			first.Code = message.ServiceUnavailable
			return nil
		}})
		s.opens(1, "registers").notify(1, "first", func(r *exchange.Response) { r.Options.SetUint(message.OptionBlock2, 8|2) })
		var refused *exchange.Error
		require.ErrorAs(t, want(t, "no value", o, Stale, "").Cause, &refused)
		require.Equal(t, message.ServiceUnavailable, refused.Code)
	})
}
