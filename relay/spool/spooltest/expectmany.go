package spooltest

import (
	"fmt"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// expectContents hands out what was committed, as without Expect.
func (s *suite) expectContents() {
	s.none()
	s.expect(all())
	for _, n := range []int{0, 18, 300_000} {
		m, ds := s.expectedMessage()
		id := s.id()
		c := spool.Commit{Message: m, Deliveries: ds, Prepend: []byte("Received: by us\r\n")}
		s.on(s.own(), func() {
			s.ok(s.write(id, make([]byte, n)).Commit(s.Context(), c))
		})
		s.wantExpected(id, m, ds, n+17)
	}
	if !hasCommitter(s.own()) {
		return
	}
	m, ds := s.expectedMessage()
	m.ID = s.id()
	p := &spool.Prepared{
		Commit:  spool.Commit{Message: m, Deliveries: ds},
		Content: []byte("content"),
	}
	s.ok(s.own().(spool.Committer).Commit(s.Context(), p))
	s.wantExpected(m.ID, m, ds, 7)
}

// expectedMessage is one that has everything.
func (s *suite) expectedMessage() (spool.Message, []spool.Delivery) {
	s.tick()
	return spool.Message{
			Created: s.now, From: "sender@example.com", EnvelopeID: "env+1", Return: "HDRS",
			Body: "8BITMIME", UTF8: true, Signatures: 2, Stream: "news", ReportOf: s.id(),
			Origin:    spool.Origin{Connector: "apps", Remote: "192.0.2.1:4711", User: "alice"},
			NotBefore: s.now.Add(-time.Minute), Moves: 2,
			Labels: map[string]string{"tenant": "blue", "": "empty"},
		}, []spool.Delivery{
			{
				Key: spool.Key{Route: "one", Domain: "example.org", Stream: "news"},
				Due: s.now.Add(-time.Hour), Expires: s.now.Add(time.Hour), Attempts: 3, Crashes: 2,
				Recipients: []spool.Recipient{
					{
						Address: "a@example.org", Notify: spool.NotifySuccess | spool.NotifyDelay,
						Delayed: true, Original: "rfc822;b@example.org",
					},
					{
						Address: "ü@example.org", Status: "4.4.1", Diagnostic: "450 later",
						Host: "mx.example.org",
					},
				},
			},
			{
				Key: spool.Key{Route: "two"}, Due: s.now,
				Recipients: []spool.Recipient{{Address: "c@example.net"}},
			},
		}
}

// wantExpected leases the deliveries of a message twice, and finishes them.
func (s *suite) wantExpected(id spool.ID, m spool.Message, ds []spool.Delivery, size int) {
	s.Helper()
	m.ID, m.Size = id, int64(size)
	want := make(map[spool.DeliveryID]string)
	for i, d := range ds {
		d.ID = spool.DeliveryID{Message: id, Seq: i}
		want[d.ID] = fmt.Sprint(show(m, d), " crashes ", d.Crashes)
	}
	for range 2 {
		list := s.gather(s.own(), spool.LeaseRequest{}, len(ds))
		back := make([]spool.Held, len(list))
		for i, l := range list {
			got := fmt.Sprint(show(l.Message, l.Delivery), " crashes ", l.Delivery.Crashes)
			if w := want[l.Delivery.ID]; got != w || l.Damaged != nil {
				s.Fatalf("leased\n%s, %v\nwant\n%s", got, l.Damaged, w)
			}
			// What is handed out is the caller's own.
			l.Message.Labels["tenant"] = "green"
			l.Delivery.Recipients[0].Address = "changed"
			back[i] = held(l)
		}
		if got := len(s.read(id)); got != size {
			s.Fatalf("content has %d bytes, want %d", got, size)
		}
		s.ok(s.Store.Return(s.Context(), 0, back))
	}
	s.finishAll(s.gather(s.other(), spool.LeaseRequest{}, len(ds)))
	s.gone(id)
}

// expectOnce has many commit and lease at once, while what is expected changes:
// each delivery is handed out once, and settled.
func (s *suite) expectOnce() {
	const each, writers = 30, 4
	c := &expectCount{suite: s, want: each * writers, holders: make(map[spool.DeliveryID]int)}
	ids := make([]spool.ID, each*writers)
	for i := range ids {
		ids[i] = s.id()
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n, id := range ids[i*each : (i+1)*each] {
				if err := c.put(id, fmt.Sprint("r", n%3)); err != nil {
					s.Error(err)
				}
				time.Sleep(s.pause / 4)
			}
		})
	}
	for _, node := range s.nodes() {
		for range 2 {
			wg.Go(func() { c.leaseAll(node) })
		}
	}
	wg.Wait()
	for id, n := range c.holders {
		if n > 1 {
			s.Errorf("%v was handed out %d times", id, n)
		}
	}
	if len(c.holders) != c.want {
		s.Fatalf("handed out %d, want %d", len(c.holders), c.want)
	}
	s.wantStats(0, 0, 0)
}

// expectCount counts how often each delivery is handed out.
type expectCount struct {
	*suite
	want    int
	mu      sync.Mutex
	holders map[spool.DeliveryID]int
}

func (c *expectCount) put(id spool.ID, route string) error {
	w, err := c.Create(c.Context(), id)
	if err != nil {
		return err
	}
	return w.Commit(c.Context(), spool.Commit{Deliveries: []spool.Delivery{{
		Key: spool.Key{Route: route}, Recipients: []spool.Recipient{{Address: "a@" + route}},
	}}})
}

// leaseAll expects some, leases and settles, until all were handed out or the
// last one is long ago.
func (c *expectCount) leaseAll(node spool.Store) {
	last := time.Now()
	for i := 1; !c.all() && time.Since(last) < c.patience; i++ {
		node.(spool.Expecter).Expect(spool.Expected{
			Max: i % 12, TTL: time.Hour, Others: i % 5,
			Keys: map[spool.Key]int{{Route: "r0"}: i % 3},
		})
		got, err := node.Lease(c.Context(), spool.LeaseRequest{
			Max: 1 + i%9, TTL: time.Hour, MaxPerKey: i % 4,
		})
		if err != nil {
			c.Error(err)
			return
		}
		for _, l := range got.Leases {
			last = time.Now()
			if err := c.settle(l); err != nil {
				c.Errorf("%v: %v", l.Delivery.ID, err)
				return
			}
		}
		if len(got.Leases) == 0 {
			time.Sleep(c.pause)
		}
	}
}

// settle notes that a delivery was handed out, and ends its lease.
func (c *expectCount) settle(l spool.Lease) error {
	c.mu.Lock()
	c.holders[l.Delivery.ID]++
	c.mu.Unlock()
	return c.Settle(c.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
}

func (c *expectCount) all() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.holders) == c.want
}

// keepsExpected has what waits for a Lease when the store ends, once.
func (s *suite) keepsExpected() {
	s.none()
	for range 2 {
		s.expect(all())
		for range 3 {
			s.commitOwn(s.delivery("a", s.now), s.delivery("b", s.now))
		}
		s.reopen()
		s.finishAll(s.gather(s.own(), spool.LeaseRequest{}, 6))
		s.none()
		s.wantStats(0, 0, 0)
	}
}
