package filespool_test

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// model is what a store should hold: attempts by delivery.
type model map[spool.DeliveryID]int

// contents is a message's content, made of its id.
func contents(id spool.ID, n int) string {
	return strings.Repeat(id.String()+"\r\n", n)
}

func length(id spool.ID) int {
	n := int(id[15])
	if n%16 == 0 {
		n *= 8 // beyond the threshold
	}
	return n
}

// holds reads a whole store.
func holds(t *testing.T, s spool.Store) model {
	t.Helper()
	s.(*filespool.Store).Elapse(time.Hour)
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1 << 20, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if int(st.Deliveries) != len(l.Leases) {
		t.Fatalf("%d deliveries, of which %d can be leased", st.Deliveries, len(l.Leases))
	}
	m := model{}
	for _, l := range l.Leases {
		m[l.Delivery.ID] = l.Delivery.Attempts
		r, err := s.Open(t.Context(), l.Message.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("content of %v: %v", l.Message.ID, err)
		}
		r.Close()
		if string(b) != "X: "+contents(l.Message.ID, length(l.Message.ID)) {
			t.Fatalf("content of %v is not what was written", l.Message.ID)
		}
	}
	return m
}

// step changes a store at random and tells how the model changes with it.
func step(
	t *testing.T, s spool.Store, random *rand.Rand,
) (change func(model), durable bool, err error) {
	now := time.Now()
	commit := func(settle []spool.Settlement) (func(model), error) {
		id := spool.NewID(now)
		change := func(m model) {
			m[spool.DeliveryID{Message: id}] = 0
			m[spool.DeliveryID{Message: id, Seq: 1}] = 0
		}
		w, err := s.Create(t.Context(), id)
		if err != nil {
			return func(model) {}, err
		}
		if _, err := io.WriteString(w, contents(id, length(id))); err != nil {
			w.Abort()
			return func(model) {}, err
		}
		ds := append(deliveries("a", now), deliveries("b", now)...)
		return change, w.Commit(
			t.Context(), spool.Commit{Deliveries: ds, Prepend: []byte("X: "), Settle: settle},
		)
	}
	kind := random.IntN(10)
	if kind < 4 {
		change, err = commit(nil)
		return change, true, err
	}
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
	if err != nil || len(l.Leases) == 0 {
		return func(model) {}, false, err
	}
	d := l.Leases[0].Delivery
	settle := spool.Settlement{ID: d.ID, Token: l.Leases[0].Token}
	settled := func(m model) { delete(m, d.ID) }
	if random.IntN(3) == 0 {
		settle.Remaining, settle.Due, settle.Attempts = d.Recipients, now, d.Attempts+1
		settled = func(m model) { m[d.ID] = d.Attempts + 1 }
	}
	if kind == 4 {
		committed, err := commit([]spool.Settlement{settle})
		return func(m model) { committed(m); settled(m) }, true, err
	}
	return settled, false, s.Settle(t.Context(), settle)
}

// TestCrash stops the machine at random and loses what was not synced, sector
// by sector. What is found afterwards must be the state after some of the
// steps, in their order, and after all that were durable.
func TestCrash(t *testing.T) {
	t.Parallel()
	for seed := range uint64(25) {
		disk := filespool.NewDisk(seed)
		random := rand.New(rand.NewPCG(seed, 2))
		dir := t.TempDir()
		now := model{}
		for range 12 {
			s := openDisk(t, dir, disk)
			found := holds(t, s)
			if !maps.Equal(found, now) {
				t.Fatalf("seed %d: found %d deliveries, want %d", seed, len(found), len(now))
			}
			s.Close() // the leases end
			s = openDisk(t, dir, disk)

			stop := random.IntN(400)
			scarce := random.IntN(3) == 0 // sometimes the disk is full
			if random.IntN(2) == 0 {
				stop = -1 // between two steps
			}
			var crashed atomic.Bool
			ops := 0
			disk.Fault(func(op, _ string) error {
				if ops++; ops == stop {
					crashed.Store(true)
				}
				if crashed.Load() {
					return errors.New("stopped")
				}
				if scarce && op == "write" && ops%7 < 2 {
					return syscall.ENOSPC
				}
				return nil
			})
			states := []model{maps.Clone(now)}
			for range random.IntN(80) {
				change, durable, err := step(t, s, random)
				if err == nil && durable {
					states = states[:0]
				}
				before := maps.Clone(now)
				change(now)
				states = append(states, maps.Clone(now))
				if err == nil {
					continue
				}
				if crashed.Load() {
					break
				}
				if !errors.Is(err, spool.ErrFull) {
					t.Fatalf("seed %d: %v", seed, err)
				}
				now = before
				states = append(states, maps.Clone(now))
			}
			disk.Crash()
			s.Close()

			s = openDisk(t, dir, disk)
			found = holds(t, s)
			known := false
			for _, m := range states {
				known = known || maps.Equal(m, found)
			}
			if !known {
				t.Fatalf(
					"seed %d: found %d deliveries, which is none of %d states; recovery %+v", seed,
					len(found), len(states), s.Recovery(),
				)
			}
			now = found
			s.Close()
		}
	}
}

func openDisk(t *testing.T, dir string, disk *filespool.Disk) *filespool.Store {
	t.Helper()
	s, err := filespool.OpenFS(dir, &filespool.Options{
		SegmentBytes: 32 << 10, Threshold: 16 << 10, Logger: filespool.Quiet(),
		SettleDelay: time.Millisecond, MinFree: -1,
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

// TestFaults breaks operations at random under load from many sessions. What
// was acknowledged must be there after the next start.
func TestFaults(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		disk := filespool.NewDisk(seed)
		random := rand.New(rand.NewPCG(seed, 3))
		dir := t.TempDir()
		must := map[spool.ID]bool{}
		for range 6 {
			s := openDisk(t, dir, disk)
			faulty := operations[random.IntN(len(operations))]
			often := 1 + random.IntN(30)
			faults := rand.New(rand.NewPCG(seed, 4))
			errs := []error{
				syscall.ENOSPC, syscall.EIO, io.ErrShortWrite, syscall.EMFILE, syscall.ENOMEM,
			}
			disk.Fault(func(op, name string) error {
				if op == faulty && faults.IntN(often) == 0 {
					return errs[faults.IntN(len(errs))]
				}
				return nil
			})
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 20 {
						id := spool.NewID(time.Now())
						w, err := s.Create(t.Context(), id)
						if err == nil {
							if _, err = io.WriteString(w, contents(id, length(id))); err != nil {
								w.Abort()
							} else {
								err = w.Commit(
									t.Context(),
									spool.Commit{
										Deliveries: deliveries("a", time.Now()),
										Prepend:    []byte("X: "),
									},
								)
							}
						}
						if err == nil {
							mu.Lock()
							must[id] = true
							mu.Unlock()
						}
					}
				})
			}
			finished := map[spool.ID]bool{}
			wg.Go(func() {
				for range 20 {
					l, err := s.Lease(
						t.Context(), spool.LeaseRequest{Max: 3, TTL: time.Minute},
					)
					if err != nil {
						continue
					}
					for _, l := range l.Leases {
						if s.Settle(
							t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
						) == nil {
							finished[l.Message.ID] = true
						}
					}
				}
			})
			wg.Wait()
			if random.IntN(2) == 0 {
				disk.Crash()
				s.Close()
			} else {
				s.Close()
				disk.Crash()
			}
			s = openDisk(t, dir, disk)
			found := holds(t, s)
			for id := range must {
				if _, ok := found[spool.DeliveryID{Message: id}]; !ok && !finished[id] {
					t.Fatalf("seed %d: %v was acknowledged and is lost (%s)", seed, id, faulty)
				}
			}
			clear(must)
			for id := range found {
				must[id.Message] = true
			}
			s.Close()
		}
	}
}
