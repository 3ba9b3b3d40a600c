package filespool_test

import (
	"bytes"
	"errors"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// FuzzSheet opens a file of events, and of keys, with arbitrary bytes in it.
// Whatever is found is read to its end, and more can be added.
func FuzzSheet(f *testing.F) {
	sheet := filespool.Sheet([]byte("one"), []byte("two"), bytes.Repeat([]byte("3"), 300))
	f.Add(sheet)
	f.Add(sheet[:64])
	f.Add(sheet[:100])
	f.Add(append(bytes.Clone(sheet[:64]), sheet[136:]...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := filespool.NewDisk(1)
		dir := t.TempDir()
		disk.Put(filepath.Join(dir, "0000000001.events"), b)
		disk.Put(filepath.Join(dir, "0000000001.claims"), b)
		var last spool.Cursor
		for range 2 {
			s, err := filespool.OpenFS(dir, &filespool.Options{
				Logger: filespool.Quiet(), MinFree: -1, SegmentBytes: 16 << 10,
			}, disk)
			if err != nil {
				return // of a later version, or at the end of all places
			}
			if _, _, err := follow(t, s, 0); err != nil {
				t.Fatal(err)
			}
			_, before, err := s.Bounds(t.Context())
			if err != nil || before < last {
				t.Fatalf("the end went from %d to %d, %v", last, before, err)
			}
			if before>>60 > 0 {
				s.Close()
				return
			}
			tell(t, s, 1)
			rs, err := s.Records(t.Context(), before, 10)
			if errors.Is(err, spool.ErrGap) {
				rs, _, err = follow(t, s, before)
			}
			if err != nil || len(rs) != 1 {
				t.Fatalf("%d records, %v", len(rs), err)
			}
			last = rs[0].At
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzConsumers(f *testing.F) {
	f.Add(filespool.AppendConsumers(nil, map[string]spool.Cursor{"a": 1, "b": 1 << 40}))
	f.Add([]byte{1, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		at, ok := filespool.ReadConsumers(b)
		if !ok {
			return
		}
		again, ok := filespool.ReadConsumers(filespool.AppendConsumers(nil, at))
		if !ok || !maps.Equal(at, again) {
			t.Fatalf("%v, %v, want %v", again, ok, at)
		}
	})
}

func FuzzShared(f *testing.F) {
	s := open(f, f.TempDir(), nil)
	s.Add(f.Context(), "n", 7, time.Hour)
	s.Put(f.Context(), "v", []byte("value"), time.Hour)
	f.Add(s.SharedFile())
	f.Add([]byte{2, 'c', 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if again, ok := filespool.ReadShared(b); ok {
			if _, ok := filespool.ReadShared(again); !ok {
				t.Fatalf("%q is read and %q is not", b, again)
			}
		}
	})
}

func FuzzExtras(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{10, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 'x'})
	f.Add(make([]byte, 72))
	f.Fuzz(func(t *testing.T, b []byte) {
		if again, ok := filespool.ReadClaim(b); ok && !bytes.Equal(again, b) {
			t.Fatalf("claim %x is written as %x", b, again)
		}
		if again, ok := filespool.ReadEvents(b); ok {
			if third, ok := filespool.ReadEvents(again); !ok || !bytes.Equal(third, again) {
				t.Fatalf("events %x are written as %x", again, third)
			}
		}
	})
}
