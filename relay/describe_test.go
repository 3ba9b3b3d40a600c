package relay_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/relaytest"
)

// siteAt is the site of a description whose last failure was at a host, or that
// has none.
func siteAt(t *testing.T, d *relay.Description, host string) relay.Site {
	t.Helper()
	for _, s := range d.Sites {
		if f := s.Failure; f != nil && strings.Contains(f.Host, host) || f == nil && host == "" {
			return s
		}
	}
	t.Fatalf("no site of %q in %+v", host, d)
	return relay.Site{}
}

func TestDescribe(t *testing.T) {
	inRefusers(t, nil, func(t *testing.T, w *refusers) {
		w.refuse(tooFast)
		w.send("", "x@a.test")
		d := w.Relay.Describe(t.Context())
		a := siteAt(t, &d, "mx.a.test")
		if a.Share != .5 || a.Failure.Class != bounce.RateLimited || a.Failure.Code != 421 ||
			a.UnderWay != 0 || a.Limit < 1 || !a.RestsUntil.IsZero() || a.Connections != 0 ||
			len(d.Throttles) != 1 || d.Throttles[0].Site != a.Name || d.MoreSites != 0 {
			t.Errorf("%+v", d)
		}
		w.refuse(refusal{relaytest.Content, relaytest.Stall()})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		d = w.Relay.Describe(t.Context())
		if a := siteAt(t, &d, "mx.a.test"); a.UnderWay != 1 || a.Connections != 1 {
			t.Errorf("%+v", d)
		}
	})
}

// All that a site refuses for its own reasons rests there, and whoever looks
// sees until when.
func TestDescribeTellsWhatRests(t *testing.T) {
	inRefusers(t, nil, func(t *testing.T, w *refusers) {
		w.rest(refusal{relaytest.Hello, relaytest.Reply(
			554, "5.7.1", "Your IP address has a poor reputation",
		)})
		d := w.Relay.Describe(t.Context())
		a := siteAt(t, &d, "mx.a.test")
		if left := time.Until(a.RestsUntil); left < 119*time.Minute || left > 2*time.Hour {
			t.Errorf("rests for %v: %+v", left, d)
		}
		if err := w.Relay.LiftThrottle(d.Throttles[0].ID); err != nil {
			t.Fatal(err)
		}
		d = w.Relay.Describe(t.Context())
		if a := siteAt(t, &d, "mx.a.test"); !a.RestsUntil.IsZero() || len(d.Throttles) != 0 {
			t.Errorf("%+v", d)
		}
	})
}

// A relay that does not run has nothing to tell, and nobody waits for it.
func TestDescribeOfARelayThatDoesNotRun(t *testing.T) {
	w := start(t, nil)
	r := w.relay
	if err := r.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ctx := range []context.Context{nil, t.Context(), ended} {
		if d := r.Describe(ctx); len(d.Sites) != 0 || len(d.Throttles) != 0 {
			t.Errorf("%+v", d)
		}
	}
}
