package pgspool_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

const wireCuts = 30 // of each side

// wire is a node whose connections pass a proxy, and one whose do not.
type wire struct {
	*testing.T
	proxy     *pgspooltest.Proxy
	cut, sees *pgspool.Store
	log       follower
	failed    int // commits
}

// TestCutAnywhere cuts the connection after the n-th byte of a commit with a
// settlement, a key and events: all of it has happened, or nothing.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	for _, side := range []pgspooltest.Side{pgspooltest.FromClient, pgspooltest.FromServer} {
		t.Run(fmt.Sprint(side), func(t *testing.T) {
			t.Parallel()
			url, p := server.Database(t), pgspooltest.NewProxy(t, server.Addr())
			w := &wire{T: t, proxy: p, cut: open(t, p.URL(t, url)), sees: open(t, url)}
			w.log.Store = w.sees
			w.step(side, -1) // its statements are prepared from then on
			before := p.Passed(side)
			w.step(side, -1)
			whole := p.Passed(side) - before
			for i := range int64(wireCuts) {
				w.step(side, whole*i/wireCuts)
				w.step(side, -1) // on a new connection
			}
			if w.failed < wireCuts/2 || w.failed > wireCuts {
				t.Errorf("%d of %d commits failed", w.failed, 2*wireCuts+2)
			}
			empty(t, connect(t, url))
		})
	}
}

// step commits while the connection is cut after n bytes, and sees that what
// has become of it agrees.
func (w *wire) step(side pgspooltest.Side, n int64) {
	cause := message(w, w.sees, "cause", "hello")
	l := leaseOne(w, w.sees, "cause")
	id := spool.NewID(time.Now())
	wr, err := w.cut.Create(w.Context(), id)
	ok(w, err)
	_, err = wr.Write(make([]byte, 40_000))
	ok(w, err)
	w.proxy.CutAfter(side, n)
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	err = wr.Commit(ctx, spool.Commit{
		Deliveries: []spool.Delivery{{
			Key: spool.Key{Route: "effect"}, Recipients: []spool.Recipient{{Address: "a@effect"}},
		}},
		Claim:  &spool.Claim{Scope: "wire", Key: id.String(), TTL: time.Hour},
		Events: []spool.Record{record("commit " + id.String())},
		Settle: []spool.Settlement{{
			ID: l.Delivery.ID, Token: l.Token,
			Events: []spool.Record{record("settle " + id.String())},
		}},
	})
	w.proxy.CutAfter(side, -1)
	if err != nil {
		w.failed++
	}
	w.agrees(fmt.Sprintf("after %d bytes", n), id, cause, err)
	w.finish(l, cause)
}

// agrees sees that a message, its key, its cause and its events are all there,
// or as before.
func (w *wire) agrees(when string, id, cause spool.ID, answer error) {
	_, items, err := w.sees.Find(w.Context(), id)
	there := err == nil
	if err != nil && !errors.Is(err, spool.ErrNotFound) || there && len(items) != 1 {
		w.Fatalf("%s: found %+v, %v", when, items, err)
	}
	if answer == nil && !there {
		w.Errorf("%s: what was acknowledged is gone", when)
	}
	if answer != nil && there {
		w.Logf("%s: there, and answered %v", when, answer)
	}
	by, _, used, err := w.sees.Claimed(w.Context(), "wire", id.String())
	if err != nil || used != there || used && by != id {
		w.Errorf("%s: there %v, the key is used %v by %v, %v", when, there, used, by, err)
	}
	_, _, err = w.sees.Find(w.Context(), cause)
	if settled := errors.Is(err, spool.ErrNotFound); settled != there {
		w.Errorf("%s: there %v, the cause is answered %v", when, there, err)
	}
	want := 0
	if there {
		want = 2
		l := leaseOne(w, w.sees, "effect")
		if l.Message.ID != id {
			w.Errorf("%s: leased %v", when, l.Message.ID)
		}
		ok(w, w.sees.Settle(w.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	}
	w.events(when, want)
}

// events sees how many records are new.
func (w *wire) events(when string, want int) {
	before := len(w.log.seen)
	for {
		list, err := w.sees.Records(w.Context(), w.log.at, 100)
		ok(w, err)
		if len(list) == 0 {
			break
		}
		for _, r := range list {
			w.log.at, w.log.seen = r.At, append(w.log.seen, string(r.Data))
		}
	}
	if news := w.log.seen[before:]; len(news) != want {
		w.Errorf("%s: the log has %q", when, news)
	}
}

// finish settles a cause that was not settled.
func (w *wire) finish(l spool.Lease, cause spool.ID) {
	if _, _, err := w.sees.Find(w.Context(), cause); err == nil {
		ok(w, w.sees.Settle(w.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	}
}
