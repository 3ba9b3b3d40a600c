package filespool_test

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// TestReadErrorsPass has reading fail for a moment: that is no damage.
func TestReadErrorsPass(t *testing.T) {
	t.Parallel()
	disk := filespool.NewDisk(1)
	s := openDisk(t, t.TempDir(), disk)
	defer s.Close()
	now := time.Now()
	for _, n := range []byte{1, 0xf0} {
		id := spool.NewID(now)
		id[15] = n
		if err := tryPutOwn(t, s, id); err != nil {
			t.Fatal(err)
		}
		for _, op := range []string{"read", "open", "size"} {
			disk.Fault(func(o, _ string) error {
				if o == op {
					return errors.New("input/output error")
				}
				return nil
			})
			if err := readAs(t, s, id); errors.Is(err, spool.ErrDamaged) ||
				errors.Is(err, spool.ErrNotFound) || err == nil && (n != 1 || op == "read") {
				t.Fatalf("%d, %s: error is %v", n, op, err)
			}
		}
		l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		disk.Fault(nil)
		if len(l.Leases) == 1 && l.Leases[0].Damaged != nil {
			t.Fatalf("leased %+v", l)
		}
		if err := readAs(t, s, id); err != nil {
			t.Fatal(err)
		}
	}
}

func logTo(b *strings.Builder) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// TestDamageOfWhatIsFinished damages the records of messages whose deliveries
// are settled, or partly so: only what is left of them is lost.
func TestDamageOfWhatIsFinished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := &filespool.Options{Logger: filespool.Quiet()}
	s := open(t, dir, o)
	now := time.Now()
	gone, half := spool.NewID(now), spool.NewID(now)
	put(t, s, gone, []byte("x"), deliveries("a", now))
	put(t, s, half, []byte("x"), append(deliveries("a", now), deliveries("b", now)...))
	l, err := s.Lease(t.Context(), spool.LeaseRequest{
		Max: 9, TTL: time.Minute, Busy: []spool.Key{{Route: "b"}},
	})
	if err != nil || len(l.Leases) != 2 {
		t.Fatalf("leased %+v, %v", l, err)
	}
	for _, l := range l.Leases {
		settle := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
		if err := s.Settle(t.Context(), settle); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	change(t, filepath.Join(dir, firstSegment), func(b []byte) []byte {
		return bytes.ReplaceAll(b, []byte("someone@example.org"), []byte("so??????????????org"))
	})
	s = open(t, dir, o)
	l, err = s.Lease(t.Context(), spool.LeaseRequest{Max: 9, TTL: time.Minute})
	if err != nil || len(l.Leases) != 1 || len(s.Recovery().Damage) != 2 {
		t.Fatalf("leased %+v, %v; recovery %+v", l, err, s.Recovery())
	}
	// What could be read is told, and the ids are right.
	v := l.Leases[0]
	if v.Delivery.ID != (spool.DeliveryID{Message: half, Seq: 1}) || v.Message.ID != half ||
		!errors.Is(v.Damaged, spool.ErrDamaged) || v.Message.From != "app@example.com" {
		t.Fatalf("leased %+v", v)
	}
}
