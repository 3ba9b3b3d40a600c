package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

var errCut = errors.New("cut off")

// node is a store that processes share, as one of them reaches it.
type node struct {
	*memspool.Store
	mute   atomic.Bool // its beats do not arrive
	cut    atomic.Bool // it counts nothing
	member atomic.Value
}

func (n *node) Beat(
	ctx context.Context, group, member string, ttl time.Duration,
) (rank, live int, err error) {
	if n.mute.Load() {
		<-ctx.Done() // as on a connection that nobody answers on
		return 0, 0, ctx.Err()
	}
	n.member.Store(member)
	return n.Store.Beat(ctx, group, member, ttl)
}

func (n *node) Add(
	ctx context.Context, key string, by int64, ttl time.Duration,
) (int64, error) {
	if n.cut.Load() {
		return 0, errCut
	}
	return n.Store.Add(ctx, key, by, ttl)
}

// peer is one of several that follow the consumer "c" of one store.
type peer struct {
	*node
	relay *relay.Relay
	end   context.CancelFunc
	done  chan error

	mu   sync.Mutex
	seen []string // "name@seconds since begun"
}

// peers are n of them, which follow in their order. Each notes when it got
// which message, and then does work.
func peers(
	t *testing.T, n int, work func(p *peer, ctx context.Context, events []event.Event) error,
) []*peer {
	store, begun := memspool.New(nil), time.Now()
	var list []*peer
	for range n {
		p := &peer{node: &node{Store: store}, done: make(chan error, 1)}
		p.relay = eventful(t, p.node)
		var ctx context.Context
		ctx, p.end = context.WithCancel(t.Context())
		go func() {
			p.done <- p.relay.Follow(ctx, "c", func(ctx context.Context, l []event.Event) error {
				for _, e := range l {
					p.note(fmt.Sprintf("%s@%v", e.Labels["n"], time.Since(begun)))
				}
				return work(p, ctx, l)
			})
		}()
		synctest.Wait()
		list = append(list, p)
	}
	t.Cleanup(func() { closeAll(t, list) })
	return list
}

func closeAll(t *testing.T, list []*peer) {
	for _, p := range list {
		p.mute.Store(false)
		p.end()
		if err := <-p.done; err != nil {
			t.Errorf("Follow: %v", err)
		}
	}
}

func eventful(t *testing.T, store spool.Store) *relay.Relay {
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.test", Spool: store,
		EventLog: relay.EventLog{Retention: 24 * time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func (p *peer) note(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, s)
}

func (p *peer) saw() string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.seen, " ")
}

// submit makes an Accepted event with a name.
func (p *peer) submit(t *testing.T, name string) {
	t.Helper()
	_, err := p.relay.Submit(t.Context(), &relay.Message{
		From: "a@example.test", To: []string{"b@example.net"},
		Labels: map[string]string{"n": name}, Content: strings.NewReader("Subject: x\n\nx\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// place is where the store says that the consumer is.
func (p *peer) place(t *testing.T) spool.Cursor {
	t.Helper()
	c, err := p.Cursor(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *peer) newest(t *testing.T) spool.Cursor {
	t.Helper()
	_, c, err := p.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func done(*peer, context.Context, []event.Event) error { return nil }

func TestFollowInOneProcessAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := peers(t, 3, done)
		for i := range 3 {
			p[i].submit(t, fmt.Sprint(i))
			time.Sleep(time.Minute)
		}
		if p[0].saw() != "0@0s 1@1m0s 2@2m0s" || p[1].saw()+p[2].saw() != "" {
			t.Errorf("%q, %q, %q", p[0].saw(), p[1].saw(), p[2].saw())
		}
	})
}

func TestFollowIsTakenOverWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := peers(t, 3, done)
		p[0].submit(t, "a")
		time.Sleep(time.Minute + time.Second)
		p[0].end()
		p[0].submit(t, "b")
		time.Sleep(10 * time.Second)
		if p[0].saw() != "a@0s" || p[1].saw() != "b@1m2s" || p[2].saw() != "" {
			t.Errorf("%q, %q, %q", p[0].saw(), p[1].saw(), p[2].saw())
		}
	})
}

// One that is cut off from the store stops before another begins, and stands
// by when it is back.
func TestFollowIsTakenOverFromWhoIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := peers(t, 2, done)
		time.Sleep(10 * time.Second)
		p[0].mute.Store(true)
		time.Sleep(27600 * time.Millisecond) // its last good beat was at 7.5s
		p[1].submit(t, "a")
		time.Sleep(time.Minute)
		if p[0].saw() != "" || p[1].saw() != "a@38s" {
			t.Errorf("%q, %q", p[0].saw(), p[1].saw())
		}
		p[0].mute.Store(false)
		time.Sleep(time.Minute)
		p[1].submit(t, "b")
		p[1].end()
		time.Sleep(3 * time.Second)
		p[1].submit(t, "c")
		if p[0].saw() != "c@2m40.6s" || p[1].saw() != "a@38s b@2m37.6s" {
			t.Errorf("%q, %q", p[0].saw(), p[1].saw())
		}
	})
}

// A process whose clock stood still while the store forgot it learns that
// another follows.
func TestFollowEndsWhenAnotherHasTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := peers(t, 2, done)
		time.Sleep(time.Second)
		if _, _, err := p[0].Store.Beat(
			t.Context(), "follow/c", p[0].member.Load().(string), 0,
		); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		p[0].submit(t, "a")
		if p[0].saw() != "" || p[1].saw() != "a@10s" {
			t.Errorf("%q, %q", p[0].saw(), p[1].saw())
		}
	})
}

// A function that takes its time does not cost the process its turn.
func TestFollowKeepsItsTurnWhileItsFunctionWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := peers(t, 2, func(_ *peer, ctx context.Context, _ []event.Event) error {
			time.Sleep(time.Hour)
			return ctx.Err()
		})
		p[0].submit(t, "a")
		time.Sleep(time.Hour + time.Second)
		if p[0].saw() != "a@0s" || p[1].saw() != "" || p[0].place(t) != p[0].newest(t) {
			t.Errorf("%q, %q, the place is %d", p[0].saw(), p[1].saw(), p[0].place(t))
		}
	})
}

// The context of a function ends with the turn. One that goes on all the same
// and returns late does not move the place, whatever it returns.
func TestFollowDoesNotMoveThePlaceAfterItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended error
		p := peers(t, 2, func(p *peer, ctx context.Context, _ []event.Event) error {
			if p.mute.Load() {
				<-ctx.Done()
				ended = context.Cause(ctx)
				time.Sleep(time.Hour)
			}
			return nil
		})
		p[0].mute.Store(true)
		p[0].submit(t, "a")
		time.Sleep(time.Minute)
		synctest.Wait()
		if ended == nil || p[0].saw() != "a@0s" || p[1].saw() != "a@30s" {
			t.Errorf("%v: %q, %q", ended, p[0].saw(), p[1].saw())
		}
		if err := p[1].Advance(t.Context(), "c", 0); err != nil { // to read it again
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if got := p[0].place(t); got != 0 {
			t.Errorf("the place went to %d", got)
		}
	})
}
