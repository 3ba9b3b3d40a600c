package filespool_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// history is what a test has done to a store, and what it was told.
type history struct {
	t     *testing.T
	s     *filespool.Store
	steps []*deed
	// seen are the places of events that were read.
	seen map[string]spool.Cursor
	// place is the consumer's, tried those that may be.
	place  spool.Cursor
	tried  []spool.Cursor
	cutoff int // events of earlier steps may be gone
}

// deed is one step.
type deed struct {
	id      spool.ID // of the message committed
	settles spool.DeliveryID
	again   bool // it was put off, not finished
	claim   string
	events  []string
	done    bool // it was acknowledged
	durable bool // and must survive
}

// began is the time of the first event; each step is a second later.
func began() time.Time { return time.Unix(1_700_000_000, 0).UTC() }

func (h *history) records(d *deed) (rs []spool.Record) {
	n := len(h.steps)
	for i := range n%3 + 1 {
		text := fmt.Sprintf("%d/%d %s", n, i, strings.Repeat("x", n%50*8))
		d.events = append(d.events, text)
		rs = append(rs, spool.Record{
			Time: began().Add(time.Duration(n) * time.Second), Data: []byte(text),
		})
	}
	return rs
}

// commit stores a message with events, every third with a key.
func (h *history) commit(settle ...spool.Settlement) error {
	d := &deed{id: spool.NewID(time.Now())}
	w, err := h.s.Create(h.t.Context(), d.id)
	if err != nil {
		return err
	}
	c := spool.Commit{
		Deliveries: deliveries("a", time.Now()), Prepend: []byte("X: "),
		Events: h.records(d), Settle: settle,
	}
	if len(h.steps)%3 == 0 {
		d.claim = fmt.Sprint("key ", len(h.steps))
		c.Claim = &spool.Claim{Scope: "s", Key: d.claim, Digest: [32]byte{1}, TTL: 24 * time.Hour}
	}
	h.steps = append(h.steps, d)
	if _, err := io.WriteString(w, contents(d.id, length(d.id))); err != nil {
		w.Abort()
		return err
	}
	err = w.Commit(h.t.Context(), c)
	if d.done = err == nil; d.done {
		for _, before := range h.steps {
			before.durable = before.done
		}
	}
	return err
}

// settle finishes a delivery, or puts it off, with events.
func (h *history) settle(again bool) error {
	l, err := h.s.Lease(h.t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
	if err != nil || len(l.Leases) == 0 {
		return err
	}
	v := l.Leases[0]
	d := &deed{settles: v.Delivery.ID, again: again}
	t := spool.Settlement{ID: d.settles, Token: v.Token, Events: h.records(d)}
	if again {
		t.Remaining, t.Attempts = v.Delivery.Recipients, v.Delivery.Attempts+1
	}
	h.steps = append(h.steps, d)
	err = h.s.Settle(h.t.Context(), t)
	d.done = err == nil
	return err
}

// look reads what can be read from the consumer's place on, and moves it.
func (h *history) look() error {
	rs, err := h.s.Records(h.t.Context(), h.place, 1000)
	if err != nil || len(rs) == 0 {
		return err
	}
	for _, r := range rs {
		h.seen[string(r.Data)] = r.At
	}
	to := rs[len(rs)-1].At
	h.tried = append(h.tried, to)
	err = h.s.Advance(h.t.Context(), "c", to)
	if err == nil {
		h.place, h.tried = to, nil
	}
	return err
}

// truncate gives up the events of all but the last steps.
func (h *history) truncate() error {
	if len(h.steps) < 30 || h.place == 0 {
		return nil
	}
	h.cutoff = len(h.steps) - 30
	return h.s.Truncate(h.t.Context(), began().Add(time.Duration(h.cutoff)*time.Second))
}

// work is one round of a busy store.
func (h *history) work(n int) error {
	var err error
	switch n % 8 {
	case 0, 1, 2, 4:
		err = h.commit()
	case 3:
		err = h.settle(true)
	case 5, 6:
		err = h.settle(false)
	case 7:
		err = h.look()
	}
	if err == nil && n%40 == 39 {
		err = h.truncate()
	}
	return err
}

// all reads the whole log, across what Truncate dropped and nothing else.
func (h *history) all() (list []spool.Logged) {
	h.t.Helper()
	oldest, newest, err := h.s.Bounds(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for after := oldest; ; {
		rs, err := h.s.Records(h.t.Context(), after, 7)
		if err != nil {
			h.t.Fatalf("after %d of %d to %d: %v", after, oldest, newest, err)
		}
		if len(rs) == 0 {
			if after != newest {
				h.t.Fatalf("the log ends at %d, not at %d", after, newest)
			}
			return list
		}
		list, after = append(list, rs...), rs[len(rs)-1].At
	}
}

// check compares what is found with what was done, and forgets what is lost.
func (h *history) check(what string) {
	h.t.Helper()
	log := h.all()
	at := map[string]int{}
	for i, r := range log {
		if _, twice := at[string(r.Data)]; twice {
			h.t.Fatalf("%s: event %.10q is there twice", what, r.Data)
		}
		at[string(r.Data)] = i
		if c, ok := h.seen[string(r.Data)]; ok && c != r.At {
			h.t.Fatalf("%s: event %.10q moved from %d to %d", what, r.Data, c, r.At)
		}
	}
	found := holds(h.t, h.s)
	last := -1
	for n, d := range h.steps {
		there := 0
		for _, e := range d.events {
			if i, ok := at[e]; ok {
				there++
				if i <= last {
					h.t.Fatalf("%s: event %.10q is out of order", what, e)
				}
				last = i
			} else if _, ok := h.seen[e]; ok && n >= h.cutoff {
				h.t.Fatalf("%s: event %.10q was read and is lost", what, e)
			}
		}
		h.checkDeed(what, n, d, there, found)
	}
	h.checkPlace(what)
}

// checkDeed checks that a step is wholly there or not at all.
func (h *history) checkDeed(what string, n int, d *deed, there int, found model) {
	h.t.Helper()
	switch {
	case n < h.cutoff: // gone, or about to
	case there != 0 && there != len(d.events):
		h.t.Fatalf("%s: step %d has %d of %d events", what, n, there, len(d.events))
	case there == 0 && d.durable:
		h.t.Fatalf("%s: step %d was acknowledged and has no events", what, n)
	}
	happened := there > 0 || n < h.cutoff && d.durable
	if d.claim != "" {
		id, digest, ok, err := h.s.Claimed(h.t.Context(), "s", d.claim)
		if err != nil || ok != happened || ok && (id != d.id || digest != [32]byte{1}) {
			h.t.Fatalf(
				"%s: key of step %d: %v, %v, %v; its events: %d", what, n, id, ok, err, there,
			)
		}
	}
	if !d.id.IsZero() && happened && !h.finished(d.id, n) {
		if _, ok := found[spool.DeliveryID{Message: d.id}]; !ok {
			h.t.Fatalf("%s: message of step %d is lost", what, n)
		}
	}
	if !happened {
		d.done = false
		if _, ok := found[spool.DeliveryID{Message: d.id}]; ok && !d.id.IsZero() {
			h.t.Fatalf("%s: message of step %d is there without its events", what, n)
		}
		d.events, d.claim, d.id = nil, "", spool.ID{}
	} else {
		d.done, d.durable = true, true
	}
}

// finished tells whether a later step that may have happened ended a message.
func (h *history) finished(id spool.ID, n int) bool {
	for _, d := range h.steps[n+1:] {
		if d.settles.Message == id && !d.again {
			return true
		}
	}
	return false
}

func (h *history) checkPlace(what string) {
	h.t.Helper()
	c, err := h.s.Cursor(h.t.Context(), "c")
	if err != nil || c != h.place && !slices.Contains(h.tried, c) {
		h.t.Fatalf("%s: place %d, %v, want %d or one of %d", what, c, err, h.place, h.tried)
	}
	h.place, h.tried = c, nil
}

// TestLedgerCrash stops a busy store at every step that it takes on disk, by a
// kill or by the loss of power. What was acknowledged is there afterwards,
// with its events, each once, in order and in the same place; what was not is
// wholly there or not at all.
func TestLedgerCrash(t *testing.T) {
	t.Parallel()
	for _, power := range []bool{false, true} {
		t.Run(map[bool]string{false: "Kill", true: "Power"}[power], func(t *testing.T) {
			t.Parallel()
			every := 6 // all of them, over some runs
			if testing.Short() {
				every = 30
			}
			for n := 1 + rand.IntN(every); ; n += every {
				if !crashAt(t, n, power) {
					return
				}
			}
		})
	}
}

// crashAt reports whether the store got as far as the n-th step.
func crashAt(t *testing.T, n int, power bool) bool {
	what := fmt.Sprintf("call %d", n)
	disk := filespool.NewDisk(uint64(n))
	dir := t.TempDir()
	h := &history{t: t, seen: map[string]spool.Cursor{}, s: openLedgers(t, dir, disk)}
	disk.StopAt(n)
	var err error
	for i := 0; i < 160 && err == nil; i++ {
		err = h.work(i)
	}
	stopped, _ := disk.Stopped()
	if err != nil && !stopped {
		t.Fatalf("%s: %v", what, err)
	}
	for range 2 { // the second time while it recovers, or after more work
		if power {
			disk.Crash()
		} else {
			disk.Kill()
		}
		h.s.Close()
		h.s = openLedgers(t, dir, disk)
		h.check(what)
		h.s.Close()
		h.s = openLedgers(t, dir, disk)
		for i := range 20 {
			if err := h.work(i); err != nil && !errors.Is(err, spool.ErrLeaseLost) {
				t.Fatalf("%s: afterwards: %v", what, err)
			}
		}
	}
	h.s.Close()
	h.s = openLedgers(t, dir, disk)
	defer h.s.Close()
	h.check(what)
	return stopped
}

// TestLedgerScarce has calls fail now and then, for want of room or of
// descriptors, or because the disk does, and the disk be small; then the
// machine stops.
func TestLedgerScarce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		what := fmt.Sprintf("seed %d", seed)
		disk := filespool.NewDisk(seed)
		dir := t.TempDir()
		h := &history{t: t, seen: map[string]spool.Cursor{}}
		failed := 0
		for round := range 4 {
			h.s = openLedgers(t, dir, disk)
			errs := []error{syscall.ENOSPC, syscall.EMFILE, io.ErrShortWrite}
			if seed%3 == 0 {
				errs = append(errs, syscall.EIO) // with which a sync ends the store
			}
			disk.Chaos(5+int(seed)*3, errs...)
			disk.Capacity = 150 << 10 * int64(seed%4)
			for i := range 80 {
				if h.work(i) != nil {
					failed++
				}
			}
			if round%2 == 0 {
				disk.Crash()
			} else {
				disk.Kill()
			}
			disk.Capacity = 0
			h.s.Close()
			h.s = openLedgers(t, dir, disk)
			h.check(what)
			h.s.Close()
		}
		if failed == 0 {
			t.Errorf("%s: nothing failed", what)
		}
	}
}

func openLedgers(t *testing.T, dir string, disk *filespool.Disk) *filespool.Store {
	t.Helper()
	s, err := filespool.OpenFS(dir, &filespool.Options{
		SegmentBytes: 16 << 10, Threshold: 4 << 10, Logger: filespool.Quiet(),
		SettleDelay: time.Millisecond, MinFree: -1, CleanBytes: 1 << 30,
	}, disk)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range s.Recovery().Damage {
		// A sector that never reached the disk may differ in one byte only.
		if !d.Torn && !d.Mended {
			t.Fatalf("damage: %+v", d)
		}
	}
	return s
}
