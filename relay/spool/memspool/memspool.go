// Package memspool is a queue in memory: the store for tests, and the template
// for whoever writes a store of their own.
//
// It keeps every rule of the contract in package spool but durability: what it
// holds is gone with the process. Memory is bounded by Options.MaxBytes.
package memspool

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// Options configures a Store. The zero value is ready to use.
type Options struct {
	// MaxBytes bounds the content kept, in bytes; more is answered with
	// spool.ErrFull. Defaults to 256 MiB; negative is no bound.
	MaxBytes int64
	// Now is the wall clock, by which deliveries are due. The ends of leases do
	// not go by it. Defaults to time.Now.
	Now func() time.Time
}

// Store keeps a queue in memory.
type Store struct {
	max int64
	now func() time.Time

	mu       sync.Mutex
	closed   bool
	messages map[spool.ID]*message
	waiting  queue // not leased, by due time
	leased   queue // by end of lease
	resting  int   // of leased, those that nobody holds
	bytes    int64 // content, committed or being written
}

type message struct {
	spool.Message
	content    []byte
	deliveries map[int]*delivery
}

type delivery struct {
	spool.Delivery
	message *message
	token   uint64    // zero while nobody holds it
	until   time.Time // by the monotonic clock
	index   int       // in its queue
}

var _ spool.Store = (*Store)(nil)

// New returns an empty store; o may be nil.
func New(o *Options) *Store {
	s := &Store{max: 256 << 20, now: time.Now, messages: make(map[spool.ID]*message)}
	s.waiting.when = func(d *delivery) time.Time { return d.Due }
	s.leased.when = func(d *delivery) time.Time { return d.until }
	if o != nil && o.MaxBytes != 0 {
		s.max = o.MaxBytes
	}
	if o != nil && o.Now != nil {
		s.now = o.Now
	}
	return s
}

// enter begins a method; on nil the caller holds the lock.
func (s *Store) enter(ctx context.Context) error {
	if ctx == nil {
		return errors.New("memspool: nil context")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return spool.ErrClosed
	}
	return nil
}

// Create begins a message.
func (s *Store) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if s.messages[id] != nil {
		return nil, spool.ErrExists
	}
	return &writer{store: s, id: id}, nil
}

type writer struct {
	store   *Store
	id      spool.ID
	content []byte
	done    bool
}

// reserve makes room for n more bytes of content. The caller holds the lock.
func (s *Store) reserve(n int) error {
	if s.closed {
		return spool.ErrClosed
	}
	if s.max >= 0 && s.bytes+int64(n) > s.max {
		return spool.ErrFull
	}
	s.bytes += int64(n)
	return nil
}

func (w *writer) Write(p []byte) (int, error) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if w.done {
		return 0, spool.ErrClosed
	}
	if err := w.store.reserve(len(p)); err != nil {
		return 0, err
	}
	w.content = append(w.content, p...)
	return len(p), nil
}

func (w *writer) Abort() error {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.end()
	return nil
}

func (w *writer) end() {
	if !w.done {
		w.done = true
		w.store.bytes -= int64(len(w.content))
		w.content = nil
	}
}

func (w *writer) Commit(ctx context.Context, c spool.Commit) error {
	s := w.store
	if err := s.enter(ctx); err != nil {
		w.Abort()
		return err
	}
	defer s.mu.Unlock()
	if w.done {
		return spool.ErrClosed
	}
	defer w.end()
	if s.messages[w.id] != nil {
		return spool.ErrExists
	}
	if len(c.Deliveries) == 0 {
		return spool.ErrNoDelivery
	}
	// Everything is checked before anything is changed.
	seen := make(map[spool.DeliveryID]bool)
	for _, t := range c.Settle {
		if s.held(t.ID, t.Token) == nil || seen[t.ID] {
			return spool.ErrLeaseLost
		}
		seen[t.ID] = true
	}
	m := &message{Message: c.Message, deliveries: make(map[int]*delivery)}
	if err := s.reserve(len(c.Prepend)); err != nil {
		return err
	}
	// What was written is counted already: from here on it is the message's.
	m.content, w.content = slices.Concat(c.Prepend, w.content), nil
	m.ID, m.Size, m.Labels = w.id, int64(len(m.content)), maps.Clone(c.Message.Labels)
	for i, d := range c.Deliveries {
		d.ID = spool.DeliveryID{Message: m.ID, Seq: i}
		d.Recipients = slices.Clone(d.Recipients)
		m.deliveries[i] = &delivery{Delivery: d, message: m}
		heap.Push(&s.waiting, m.deliveries[i])
	}
	s.messages[m.ID] = m
	for _, t := range c.Settle {
		s.settle(s.held(t.ID, t.Token), t)
	}
	return nil
}

// Open reads the content of a message.
func (s *Store) Open(ctx context.Context, id spool.ID) (io.ReadCloser, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	m := s.messages[id]
	if m == nil {
		return nil, spool.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(m.content)), nil
}

// Lease hands out due deliveries.
func (s *Store) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Leased{}, err
	}
	defer s.mu.Unlock()
	now, wall := time.Now(), s.now()
	s.endLeases(now)
	out := spool.Leased{Wait: -1}
	soonest := func(d time.Duration) {
		if d = max(d, 0); out.Wait < 0 || d < out.Wait {
			out.Wait = d
		}
	}
	var passed []*delivery
	perKey := make(map[spool.Key]int)
	for len(s.waiting.items) > 0 {
		d := s.waiting.items[0]
		busy := matches(r.Busy, d.Key) || len(r.Only) > 0 && !matches(r.Only, d.Key)
		if !busy && (d.Due.After(wall) || len(out.Leases) >= r.Max) {
			soonest(d.Due.Sub(wall))
			break
		}
		heap.Pop(&s.waiting)
		if busy {
			passed = append(passed, d)
			continue
		}
		if r.MaxPerKey > 0 && perKey[d.Key] >= r.MaxPerKey {
			passed = append(passed, d)
			soonest(d.Due.Sub(wall))
			continue
		}
		perKey[d.Key]++
		d.token, d.until = newToken(), now.Add(r.TTL)
		heap.Push(&s.leased, d)
		out.Leases = append(out.Leases, d.lease())
	}
	for _, d := range passed {
		heap.Push(&s.waiting, d)
	}
	for _, d := range s.leased.items[:min(1, len(s.leased.items))] {
		soonest(d.until.Sub(now))
	}
	return out, nil
}

// matches reports whether a key is among those of a request.
func matches(keys []spool.Key, k spool.Key) bool {
	return slices.ContainsFunc(keys, func(v spool.Key) bool {
		return v.Route == k.Route && v.Domain == k.Domain &&
			(v.Stream == "" || v.Stream == k.Stream)
	})
}

// newToken returns a random token.
func newToken() uint64 {
	for {
		if t := rand.Uint64(); t != 0 {
			return t
		}
	}
}

// endLeases makes deliveries wait again that nobody holds any more.
func (s *Store) endLeases(now time.Time) {
	for len(s.leased.items) > 0 && !s.leased.items[0].until.After(now) {
		s.endLease(s.leased.items[0])
	}
}

func (s *Store) endLease(d *delivery) {
	heap.Remove(&s.leased, d.index)
	if d.token == 0 {
		s.resting--
	}
	d.token = 0
	heap.Push(&s.waiting, d)
}

func (d *delivery) lease() spool.Lease {
	l := spool.Lease{Message: d.message.Message, Delivery: d.Delivery, Token: d.token}
	l.Message.Labels = maps.Clone(l.Message.Labels)
	l.Delivery.Recipients = slices.Clone(l.Delivery.Recipients)
	return l
}

// held returns the delivery whose lease has the token, or nil.
func (s *Store) held(id spool.DeliveryID, token uint64) *delivery {
	if m := s.messages[id.Message]; m != nil {
		if d := m.deliveries[id.Seq]; d != nil && d.token != 0 && d.token == token {
			return d
		}
	}
	return nil
}

// Renew makes leases last for ttl from now on.
func (s *Store) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) (lost []spool.Held, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	until := time.Now().Add(ttl)
	for _, h := range held {
		d := s.held(h.ID, h.Token)
		if d == nil {
			lost = append(lost, h)
			continue
		}
		d.until = until
		heap.Fix(&s.leased, d.index)
	}
	return lost, nil
}

// Return gives leases back.
func (s *Store) Return(ctx context.Context, wait time.Duration, held []spool.Held) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	until := time.Now().Add(wait)
	for _, h := range held {
		d := s.held(h.ID, h.Token)
		switch {
		case d == nil:
		case wait <= 0:
			s.endLease(d)
		default:
			d.token, d.until = 0, until
			s.resting++
			heap.Fix(&s.leased, d.index)
		}
	}
	return nil
}

// Settle ends a lease.
func (s *Store) Settle(ctx context.Context, t spool.Settlement) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	d := s.held(t.ID, t.Token)
	if d == nil {
		return spool.ErrLeaseLost
	}
	s.settle(d, t)
	return nil
}

func (s *Store) settle(d *delivery, t spool.Settlement) {
	heap.Remove(&s.leased, d.index)
	d.token = 0
	if len(t.Remaining) > 0 {
		d.Recipients, d.Due, d.Attempts = slices.Clone(t.Remaining), t.Due, t.Attempts
		if t.Due.IsZero() {
			d.Due = s.now().Add(max(t.Wait, 0))
		}
		if t.Key != nil {
			d.Key = *t.Key
		}
		heap.Push(&s.waiting, d)
		return
	}
	delete(d.message.deliveries, d.ID.Seq)
	if len(d.message.deliveries) == 0 {
		delete(s.messages, d.ID.Message)
		s.bytes -= d.message.Size
	}
}

// Stats returns the totals.
func (s *Store) Stats(ctx context.Context) (spool.Stats, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Stats{}, err
	}
	defer s.mu.Unlock()
	leased, waiting := int64(len(s.leased.items)), int64(len(s.waiting.items))
	return spool.Stats{
		Messages:   int64(len(s.messages)),
		Deliveries: leased + waiting,
		Leased:     leased - int64(s.resting),
		Bytes:      s.bytes,
	}, nil
}

// Close empties the store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.messages = true, nil
	s.waiting.items, s.leased.items = nil, nil
	return nil
}

// queue is a heap of deliveries, ordered by when their turn comes.
type queue struct {
	items []*delivery
	when  func(*delivery) time.Time
}

func (q *queue) Len() int { return len(q.items) }

func (q *queue) Less(i, j int) bool {
	a, b := q.items[i], q.items[j]
	if c := q.when(a).Compare(q.when(b)); c != 0 {
		return c < 0
	}
	if c := a.ID.Message.Compare(b.ID.Message); c != 0 {
		return c < 0
	}
	return a.ID.Seq < b.ID.Seq
}

func (q *queue) Swap(i, j int) {
	q.items[i], q.items[j] = q.items[j], q.items[i]
	q.items[i].index, q.items[j].index = i, j
}

func (q *queue) Push(x any) {
	d := x.(*delivery)
	d.index = len(q.items)
	q.items = append(q.items, d)
}

func (q *queue) Pop() any {
	last := len(q.items) - 1
	d := q.items[last]
	q.items[last] = nil
	q.items = q.items[:last]
	return d
}
