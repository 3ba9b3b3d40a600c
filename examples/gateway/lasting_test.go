package main

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/examples/internal/openspool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// Gateways on one database slow down together who guesses passwords; those with
// a directory each go by themselves.
func TestGatewaysShareFailedLogons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for where, shared := range map[string]bool{"postgres://u:p@h/d": true, "spool": false} {
			place, err := openspool.Parse(where)
			if err != nil {
				t.Fatal(err)
			}
			queue := memspool.New(nil) // stands for both
			var gateways []auth.Verifier
			for range 2 {
				last := newLasting()
				last.share(storage{Place: place}, queue)
				s := &auth.Server{}
				last.guard(s)
				gateways = append(gateways, s.Throttle.Guard(auth.Static(nil)))
			}
			guess := func(i, user int) (slowed bool) {
				_, err := gateways[i].Verify(t.Context(), auth.Proof{
					Username: fmt.Sprint("user", user), Password: "guess",
					Remote: netip.MustParseAddrPort("192.0.2.1:1"),
				})
				_, slowed = errors.AsType[*auth.ThrottledError](err)
				return slowed
			}
			for user := 0; !guess(0, user); user++ {
			}
			guess(1, 1000)
			if got := guess(1, 1001); got != shared {
				t.Errorf("%s: slowed down %v, want %v", place, got, shared)
			}
			_ = queue.Close()
		}
	})
}
