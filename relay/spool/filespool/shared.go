package filespool

import (
	"bytes"
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

var _ spool.Shared = (*Store)(nil)

const (
	sharedName     = "shared"
	sharedDelay    = 5 * time.Second // until a change is written
	maxSharedBytes = 16 << 20        // of keys and values, each with what it costs
	sharedCost     = 128
	sharedCounter  = 'c'
	sharedValue    = 'v'
)

var errShared = errors.New("filespool: shared key or value is too long")

// shared are counters and values that end by themselves. They are in memory; a
// file holds them all, and is replaced a while after a change and by Close.
type shared struct {
	s     *Store
	delay time.Duration

	mu     sync.Mutex
	items  map[string]*sharedItem // by kind and key
	ends   heap[*sharedItem]
	bytes  int
	dirty  bool
	closed bool
	timer  *time.Timer

	writing sync.Mutex // held while the file is replaced
}

type sharedItem struct {
	name  string
	until time.Duration // since the store was opened
	count int64
	value []byte
	at    int
}

func newShared(s *Store) *shared {
	h := &shared{s: s, delay: sharedDelay, items: make(map[string]*sharedItem)}
	h.ends.less = func(a, b *sharedItem) bool { return a.until < b.until }
	h.ends.moved = func(v *sharedItem, at int) { v.at = at }
	return h
}

func (v *sharedItem) cost() int { return sharedCost + len(v.name) + len(v.value) }

// live forgets what has ended and returns an item. The caller holds h.mu.
func (h *shared) live(name string) *sharedItem {
	for now := h.s.elapsed(); h.ends.len() > 0 && h.ends.top().until <= now; {
		h.remove(h.ends.top())
	}
	return h.items[name]
}

func (h *shared) remove(v *sharedItem) {
	h.ends.remove(v.at)
	delete(h.items, v.name)
	h.bytes -= v.cost()
}

// put adds an item, and drops those that end first for it if there are too
// many. The caller holds h.mu.
func (h *shared) put(v *sharedItem) {
	if old := h.items[v.name]; old != nil {
		h.remove(old)
	}
	for h.bytes+v.cost() > maxSharedBytes && h.ends.len() > 0 {
		h.remove(h.ends.top())
	}
	h.items[v.name] = v
	h.bytes += v.cost()
	h.ends.push(v)
}

// change makes sure that what has changed is written. The caller holds h.mu.
func (h *shared) change() {
	h.dirty = true
	if h.timer == nil && !h.closed {
		h.timer = time.AfterFunc(h.delay, h.save)
	}
}

// save writes the file.
func (h *shared) save() {
	h.writing.Lock()
	defer h.writing.Unlock()
	h.mu.Lock()
	h.timer = nil
	if !h.dirty {
		h.mu.Unlock()
		return
	}
	h.dirty = false
	h.live("")
	b := h.append(nil)
	h.mu.Unlock()
	if err := h.s.replaceFile(sharedName, b); err != nil {
		h.s.log.Warn("filespool: counters and values could not be written", "err", err)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.change()
	}
}

// close writes what is left to write.
func (h *shared) close() {
	h.mu.Lock()
	h.closed = true
	if h.timer != nil {
		h.timer.Stop()
	}
	h.mu.Unlock()
	h.save()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.items, h.ends.items = nil, nil
}

// The file of shared items: for each the kind and key, when it ends, and the
// count or the value.
func (h *shared) append(b []byte) []byte {
	now, elapsed := nanos(h.s.now()), h.s.elapsed()
	for _, v := range h.items {
		b = appendString(b, v.name)
		b = appendTime(b, now+int64(v.until-elapsed))
		if v.name[0] == sharedCounter {
			b = appendTime(b, v.count)
			continue
		}
		b = appendString(b, string(v.value))
	}
	return b
}

// parse reads the file and reports whether it makes sense.
func (h *shared) parse(b []byte) bool {
	now, elapsed := nanos(h.s.now()), h.s.elapsed()
	d := &decoder{b: b, s: string(b)}
	for d.at < len(b) && !d.bad {
		v := &sharedItem{name: d.string()}
		until := d.time()
		switch {
		case v.name == "" || v.name[0] != sharedCounter && v.name[0] != sharedValue:
			return false
		case v.name[0] == sharedCounter:
			v.count = d.time()
		default:
			v.value = bytes.Clone(d.bytes())
		}
		if until <= now || d.bad {
			continue
		}
		v.until = elapsed + time.Duration(until-now)
		h.put(v)
	}
	return !d.bad
}

// openShared reads the file. If it is damaged nothing is known.
func (s *Store) openShared() error {
	b, err := s.readSmall(sharedName)
	if err != nil || s.shared.parse(b) {
		return err
	}
	s.shared = newShared(s)
	return s.putAside(sharedName, int64(len(b)))
}

// enterShared begins a method; on nil the caller holds s.shared.mu.
func (s *Store) enterShared(ctx context.Context, key string, value []byte) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.mu.Unlock()
	if len(key) > spool.MaxSharedKey || len(value) > spool.MaxSharedValue {
		return errShared
	}
	s.shared.mu.Lock()
	if s.shared.closed {
		s.shared.mu.Unlock()
		return spool.ErrClosed
	}
	return nil
}

// until is the end of what lasts for ttl.
func (s *Store) until(ttl time.Duration) time.Duration {
	now := s.elapsed()
	if ttl > math.MaxInt64-now {
		return math.MaxInt64
	}
	return now + ttl
}

// Add adds to a counter. A crash loses what was added in the last five seconds.
func (s *Store) Add(
	ctx context.Context, key string, n int64, ttl time.Duration,
) (int64, error) {
	if err := s.enterShared(ctx, key, nil); err != nil {
		return 0, err
	}
	h := s.shared
	defer h.mu.Unlock()
	name := string(sharedCounter) + key
	v := h.live(name)
	if v == nil {
		v = &sharedItem{name: name, until: s.until(ttl)}
		if ttl > 0 {
			h.put(v)
		}
	}
	v.count += n
	h.change()
	return v.count, nil
}

// Get returns a value, which is the caller's.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.enterShared(ctx, key, nil); err != nil {
		return nil, err
	}
	defer s.shared.mu.Unlock()
	v := s.shared.live(string(sharedValue) + key)
	if v == nil {
		return nil, spool.ErrNotFound
	}
	return bytes.Clone(v.value), nil
}

// Put sets a value. A crash may bring back the one of five seconds ago.
func (s *Store) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := s.enterShared(ctx, key, value); err != nil {
		return err
	}
	h := s.shared
	defer h.mu.Unlock()
	name := string(sharedValue) + key
	if old := h.live(name); old != nil {
		h.remove(old)
	}
	if ttl > 0 {
		h.put(&sharedItem{name: name, until: s.until(ttl), value: append([]byte{}, value...)})
	}
	h.change()
	return nil
}
