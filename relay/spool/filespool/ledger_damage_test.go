package filespool_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// eventful fills a directory with events in several files, most of which the
// log has not any more, and returns them.
func eventful(t *testing.T, dir string, messages int) (list []spool.Logged) {
	t.Helper()
	s := open(t, dir, &filespool.Options{
		SegmentBytes: 16 << 10, MinFree: -1, SettleDelay: time.Millisecond,
	})
	defer s.Close()
	for n := range messages {
		tell(t, s, n)
		finishOne(t, s)
	}
	s.Flush()
	list, gaps, err := follow(t, s, 0)
	if err != nil || len(gaps) > 0 || len(list) != 2*messages {
		t.Fatalf("%d events, %v, %v", len(list), gaps, err)
	}
	return list
}

// tell commits a message with an event.
func tell(t *testing.T, s spool.Store, n int) {
	t.Helper()
	err := tryPut(
		t, s, spool.NewID(time.Now()), make([]byte, 1000), deliveries("a", time.Now()),
		spool.Record{Time: time.Unix(int64(n), 0), Data: fmt.Appendf(nil, "%0100d", n)},
	)
	if err != nil {
		t.Fatal(err)
	}
}

// finishOne finishes a delivery with an event.
func finishOne(t *testing.T, s spool.Store) {
	t.Helper()
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
	if err != nil || len(l.Leases) != 1 {
		t.Fatal(l, err)
	}
	err = s.Settle(t.Context(), spool.Settlement{
		ID: l.Leases[0].Delivery.ID, Token: l.Leases[0].Token,
		Events: []spool.Record{{Time: time.Now(), Data: []byte("done")}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// follow reads the log from a place on, and past each gap.
func follow(
	t *testing.T, s spool.Log, after spool.Cursor,
) (list []spool.Logged, gaps []spool.GapError, err error) {
	t.Helper()
	for range 10_000 {
		rs, err := s.Records(t.Context(), after, 10)
		if g, ok := errors.AsType[*spool.GapError](err); ok {
			if !errors.Is(err, spool.ErrGap) || g.After != after || g.Oldest <= after {
				t.Fatalf("after %d: %+v", after, g)
			}
			gaps, after = append(gaps, *g), g.Oldest
			continue
		}
		if err != nil || len(rs) == 0 {
			return list, gaps, err
		}
		list, after = append(list, rs...), rs[len(rs)-1].At
	}
	t.Fatal("the log has no end")
	return nil, nil, nil
}

// covered tells whether a gap was told in which a record lies.
func covered(gaps []spool.GapError, at spool.Cursor) bool {
	for _, g := range gaps {
		if g.After < at && at <= g.Oldest {
			return true
		}
	}
	return false
}

// harm does something to a file.
func harm(t *testing.T, name string, random *rand.Rand) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	what, at := "", random.IntN(len(b))
	switch random.IntN(5) {
	case 0:
		what = "one byte"
		b[at] ^= 0x55
	case 1:
		what = "zeros"
		clear(b[at:min(at+1+random.IntN(600), len(b))])
	case 2:
		what = "noise"
		for i := at; i < min(at+1+random.IntN(600), len(b)); i++ {
			b[i] = byte(random.Uint32())
		}
	case 3:
		what = "cut"
		b = b[:at]
	case 4:
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		return "removed"
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return what
}

// TestLedgerDamage damages a file of events. What is readable is read, in the
// same places; what is not is told as a gap, and the damage is made known.
func TestLedgerDamage(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			want := eventful(t, dir, 60)
			random := rand.New(rand.NewPCG(seed, 7))
			files, err := filepath.Glob(filepath.Join(dir, "*.events"))
			if err != nil || len(files) < 3 {
				t.Fatal(files, err)
			}
			name := files[random.IntN(len(files))]
			what := harm(t, name, random) + " in " + filepath.Base(name)
			checkHarm(t, dir, what, want)
		})
	}
}

func checkHarm(t *testing.T, dir, what string, want []spool.Logged) {
	t.Helper()
	for round := range 2 {
		var said bytes.Buffer
		s := open(t, dir, &filespool.Options{
			SegmentBytes: 16 << 10, MinFree: -1, SettleDelay: time.Millisecond,
			Logger: slog.New(slog.NewTextHandler(&said, nil)),
		})
		got, gaps, err := follow(t, s, 0)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		lost := compare(t, what, got, want, gaps)
		if lost > 40 {
			t.Errorf("%s: %d of %d lost", what, lost, len(want))
		}
		told := len(s.Recovery().Damage) > 0 || bytes.Contains(said.Bytes(), []byte("damage"))
		if lost > 0 && round == 0 && !told && !bytes.Contains([]byte(what), []byte("removed")) {
			t.Errorf("%s: %d lost and nothing is said", what, lost)
		}
		tell(t, s, 1000+round)
		_, newest, err := s.Bounds(t.Context())
		if err != nil || newest <= want[len(want)-1].At {
			t.Errorf("%s: newest is %d, %v", what, newest, err)
		}
		more, _, err := follow(t, s, want[len(want)-1].At)
		if err != nil || len(more) == 0 {
			t.Errorf("%s: what is new cannot be read: %v", what, err)
		}
		want = append(want, more[len(more)-1])
		s.Close()
	}
}

// compare counts what is missing, each of which lies in a gap.
func compare(
	t *testing.T, what string, got, want []spool.Logged, gaps []spool.GapError,
) (lost int) {
	t.Helper()
	for _, w := range want {
		if len(got) > 0 && got[0].At == w.At {
			if !bytes.Equal(got[0].Data, w.Data) {
				t.Fatalf("%s: record %d is another", what, w.At)
			}
			got = got[1:]
			continue
		}
		if lost++; !covered(gaps, w.At) {
			t.Fatalf("%s: record %d is missing and no gap told: %v", what, w.At, gaps)
		}
	}
	if len(got) > 0 {
		t.Fatalf("%s: record %d is new", what, got[0].At)
	}
	return lost
}

// TestConsumersDamage damages the file of the consumers: they begin again, and
// that is said.
func TestConsumersDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := eventful(t, dir, 3)
	s := open(t, dir, nil)
	if err := s.Advance(t.Context(), "c", want[2].At); err != nil {
		t.Fatal(err)
	}
	s.Close()
	name := filepath.Join(dir, "consumers")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[3] ^= 1
	wantCursor(t, dir, name, b, want[2].At, 0)
	b[7] ^= 1
	wantCursor(t, dir, name, b, 0, 1)
}

func wantCursor(
	t *testing.T, dir, name string, b []byte, want spool.Cursor, damage int,
) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, nil)
	defer s.Close()
	c, err := s.Cursor(t.Context(), "c")
	if err != nil || c != want || len(s.Recovery().Damage) != damage {
		t.Errorf("%d, %v, damage %+v, want %d", c, err, s.Recovery().Damage, want)
	}
}

func removeEvents(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.events"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEventsInDamagedLog loses the events of a record of the log before they
// are copied: a gap tells.
func TestEventsInDamagedLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := eventful(t, dir, 6)
	removeEvents(t, dir)
	s := open(t, dir, nil)
	got, gaps, err := follow(t, s, 0)
	if err != nil || compare(t, "restored", got, want, gaps) > 0 {
		t.Fatalf("%d of %d, %v, %v", len(got), len(want), gaps, err)
	}
	s.Close()
	removeEvents(t, dir)
	name := filepath.Join(dir, firstSegment)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, want[4].Data)
	clear(b[at : at+20])
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, nil)
	got, gaps, err = follow(t, s, 0)
	if lost := compare(t, "damaged", got, want, gaps); err != nil || lost != 1 {
		t.Errorf("%d lost, %v, %v", lost, gaps, err)
	}
}
