package filespool_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

const firstSegment = "0000000001.log"

// small makes a store with n messages, each in a batch of its own, and returns
// its log and the ids in order.
func small(t *testing.T, dir string, n int) (log []byte, ids []spool.ID) {
	t.Helper()
	s := open(t, dir, nil)
	for i := range n {
		id := spool.NewID(time.Now().Add(time.Duration(i) * time.Millisecond))
		id[15] = byte(1 + i)
		put(t, s, id, []byte(contents(id, 1)), deliveries("a", time.Now()))
		ids = append(ids, id)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, firstSegment))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimRight(log, "\x00"), ids
}

func withLog(t *testing.T, log []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, firstSegment), log, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// intact counts the messages of ids whose content is as written.
func intact(t *testing.T, s spool.Store, ids []spool.ID) int {
	t.Helper()
	n := 0
	for _, id := range ids {
		r, err := s.Open(t.Context(), id)
		if err != nil {
			continue
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err == nil && strings.HasSuffix(string(b), contents(id, 1)) {
			n++
		}
	}
	return n
}

// TestTornTail cuts a log at every byte.
func TestTornTail(t *testing.T) {
	t.Parallel()
	log, ids := small(t, t.TempDir(), 4)
	// With zeros behind it, a record may be whole one byte sooner.
	most, seen := map[int]int{0: -1, 5000: -1}, 0
	dir := t.TempDir()
	for n := filespool.SegmentHeader; n <= len(log); n++ {
		for _, zeros := range []int{0, 5000} {
			if err := os.WriteFile(
				filepath.Join(dir, firstSegment),
				append(bytes.Clone(log[:n]), make([]byte, zeros)...), 0o600,
			); err != nil {
				t.Fatal(err)
			}
			s := open(
				t, dir,
				&filespool.Options{
					Logger: filespool.Quiet(), InsecureNoSync: true, SegmentBytes: 16 << 10,
				},
			)
			found := intact(t, s, ids)
			st, _ := s.Stats(t.Context())
			last := most[zeros]
			if found < last || found > last+1 && last >= 0 || int(st.Messages) != found {
				t.Fatalf(
					"cut at %d: %d messages, %d intact, %d with a byte less", n, st.Messages, found,
					last,
				)
			}
			r := s.Recovery()
			switch {
			case len(r.Damage) > 1:
				t.Fatalf("cut at %d: damage %+v", n, r.Damage)
			case len(r.Damage) == 1:
				seen++
				d := r.Damage[0]
				// The trailing zeros of a record are not told from none.
				if !d.Torn || d.File != firstSegment || d.Offset+d.Bytes > int64(n) ||
					d.Offset+d.Bytes < int64(n)-80 {
					t.Fatalf("cut at %d: damage %+v", n, d)
				}
			}
			most[zeros] = max(last, found)
			// The store goes on after the cut.
			id := spool.NewID(time.Now())
			put(t, s, id, []byte(contents(id, 1)), deliveries("a", time.Now()))
			s.Close()
			s = open(t, dir, &filespool.Options{InsecureNoSync: true, SegmentBytes: 16 << 10})
			if got := intact(t, s, append(ids, id)); got != found+1 ||
				len(s.Recovery().Damage) != 0 {
				t.Fatalf(
					"cut at %d: %d messages after another one, want %d; %+v", n, got, found+1,
					s.Recovery(),
				)
			}
			s.Close()
		}
	}
	if most[0] != len(ids) || seen < len(log)/2 {
		t.Fatalf("found %d of %d messages, %d cuts reported", most[0], len(ids), seen)
	}
}

// TestBitFlips changes each byte of a log. At most one message may be lost, and
// not without a word.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	log, ids := small(t, t.TempDir(), 4)
	dir := t.TempDir()
	for i := range log {
		flipped := bytes.Clone(log)
		flipped[i] ^= 1 << (i % 8)
		if err := os.WriteFile(filepath.Join(dir, firstSegment), flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(
			t, dir,
			&filespool.Options{
				Logger: filespool.Quiet(), InsecureNoSync: true, SegmentBytes: 16 << 10,
			},
		)
		found := intact(t, s, ids)
		st, _ := s.Stats(t.Context())
		if found < len(ids)-1 {
			t.Fatalf("byte %d changed: %d of %d messages left", i, found, len(ids))
		}
		if int(st.Messages) < len(ids) && len(s.Recovery().Damage) == 0 {
			t.Fatalf("byte %d changed: a message is lost without a word", i)
		}
		s.Close()
	}
}

func TestHeaderDestroyed(t *testing.T) {
	t.Parallel()
	log, ids := small(t, t.TempDir(), 4)
	clear(log[:filespool.SegmentHeader+20])
	s := open(t, withLog(t, log), &filespool.Options{Logger: filespool.Quiet()})
	if n := intact(t, s, ids); n != len(ids)-1 {
		t.Fatalf("%d messages left, want %d", n, len(ids)-1)
	}
	if len(s.Recovery().Damage) == 0 {
		t.Fatal("no word of it")
	}
}

func TestForeignFile(t *testing.T) {
	t.Parallel()
	dir := withLog(t, bytes.Repeat([]byte("this is no log\n"), 1000))
	var said bytes.Buffer
	s := open(t, dir, &filespool.Options{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if len(s.Recovery().Damage) != 1 || !strings.Contains(said.String(), firstSegment) {
		t.Fatalf("recovery %+v, log %q", s.Recovery(), said.String())
	}
	if _, err := os.Stat(filepath.Join(dir, firstSegment+".damaged")); err != nil {
		t.Fatal(err)
	}
	id := spool.NewID(time.Now())
	put(t, s, id, []byte(contents(id, 1)), deliveries("a", time.Now()))
}

func TestLaterVersion(t *testing.T) {
	t.Parallel()
	log, mark := filespool.SegmentFile(1)
	log = append(log, make([]byte, 400)...)
	filespool.Seal(log, filespool.SegmentHeader, mark, 1, 1)
	filespool.SetVersion(log, filespool.SegmentHeader, 2)
	if _, err := filespool.Open(withLog(t, log), nil); err == nil {
		t.Fatal("a log of a later version was opened")
	}
}

// TestHeadersOnly opens a log of long contents and counts what is read.
func TestHeadersOnly(t *testing.T) {
	t.Parallel()
	disk := filespool.NewDisk(1)
	dir := t.TempDir()
	o := &filespool.Options{SegmentBytes: 1 << 20, MinFree: -1}
	s, err := filespool.OpenFS(dir, o, disk)
	if err != nil {
		t.Fatal(err)
	}
	const n, size = 200, 50_000
	for range n {
		put(t, s, spool.NewID(time.Now()), make([]byte, size), deliveries("a", time.Now()))
	}
	s.Close()
	disk.Reads = 0
	if s, err = filespool.OpenFS(dir, o, disk); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := s.Recovery()
	if r.Messages != n || disk.Reads > n*size/10 || r.Read > disk.Reads {
		t.Fatalf(
			"read %d bytes of %d, told of %d, found %d messages", disk.Reads, n*size, r.Read,
			r.Messages,
		)
	}
}

func TestOwnFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := &filespool.Options{Threshold: 100, Logger: filespool.Quiet()}
	s := open(t, dir, o)
	var ids []spool.ID
	for i := range 3 {
		id := spool.NewID(time.Now().Add(time.Duration(i) * time.Millisecond))
		put(t, s, id, bytes.Repeat([]byte("x"), 1000), deliveries("a", time.Now()))
		ids = append(ids, id)
	}
	s.Close()
	name := func(id spool.ID) string { return filepath.Join(dir, "files", id.String()) }
	orphan := name(spool.NewID(time.Now()))
	if err := os.WriteFile(orphan, []byte("being written"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, o)
	if _, err := os.Stat(orphan); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the file of a message that was being written: %v", err)
	}
	s.Close()

	if err := os.Truncate(name(ids[0]), 999); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name(ids[1])); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(
		name(ids[2]), append(bytes.Repeat([]byte("x"), 999), 'y'), 0o600,
	); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(orphan, []byte("what is left"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, o)
	if r := s.Recovery(); r.Messages != 3 || len(r.Damage) != 3 {
		t.Fatalf("recovery %+v", r)
	}
	for _, id := range ids[:2] {
		if _, err := s.Open(t.Context(), id); !errors.Is(err, spool.ErrDamaged) {
			t.Fatalf("error is %v, want ErrDamaged", err)
		}
	}
	for _, kept := range []string{orphan, name(ids[0])} {
		if _, err := os.Stat(kept); err != nil {
			t.Fatalf("with damage found, a file without a record is gone: %v", err)
		}
	}
	r, err := s.Open(t.Context(), ids[2])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, filespool.ErrDamaged) {
		t.Fatalf("error is %v, want ErrDamaged", err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "spool")
	s := open(t, dir, nil)
	if _, err := filespool.Open(dir, nil); !errors.Is(err, filespool.ErrLocked) {
		t.Fatalf("error is %v, want ErrLocked", err)
	}
	s.Close()
	open(t, dir, nil)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFailedSync(t *testing.T) {
	t.Parallel()
	disk := filespool.NewDisk(1)
	s := openDisk(t, t.TempDir(), disk)
	now := time.Now()
	first := spool.NewID(now)
	put(t, s, first, []byte("content"), deliveries("a", now))
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	broken := true
	disk.Fault(func(op, _ string) error {
		if op == "sync" && broken {
			broken = false
			return syscall.EIO
		}
		return nil
	})
	for range 2 {
		// The second time the disk says that all is well. It is not.
		if err := tryPut(
			t, s, spool.NewID(now), nil, deliveries("a", now),
		); !errors.Is(err, spool.ErrFailed) {
			t.Fatalf("error is %v, want ErrFailed", err)
		}
	}
	if _, err := s.Lease(
		t.Context(), spool.LeaseRequest{Max: 1},
	); !errors.Is(err, spool.ErrFailed) {
		t.Fatalf("error is %v, want ErrFailed", err)
	}
	r, err := s.Open(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := s.Settle(
		t.Context(), spool.Settlement{ID: l.Leases[0].Delivery.ID, Token: l.Leases[0].Token},
	); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, spool.ErrFailed) {
		t.Fatalf("error is %v, want ErrFailed", err)
	}
}

// TestNoRoom fills the disk. Commits fail, settlements are kept, and all goes
// on when there is room.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	disk := filespool.NewDisk(1)
	dir := t.TempDir()
	s := openDisk(t, dir, disk)
	now := time.Now()
	for range 3 {
		id := spool.NewID(now)
		put(t, s, id, []byte(contents(id, length(id))), deliveries("a", now))
	}
	writes := 0
	disk.Fault(func(op, name string) error {
		if op != "write" {
			return nil
		}
		if writes++; writes%2 == 0 {
			return fmt.Errorf("%w: %w", filespool.ErrAfter, syscall.ENOSPC)
		}
		return syscall.ENOSPC
	})
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 2, TTL: time.Minute})
	if err != nil || len(l.Leases) != 2 {
		t.Fatalf("leased %v, %v", l, err)
	}
	finish, again := l.Leases[0], l.Leases[1]
	if err := s.Settle(
		t.Context(), spool.Settlement{ID: finish.Delivery.ID, Token: finish.Token},
	); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context(), spool.Settlement{
		ID: again.Delivery.ID, Token: again.Token, Due: now, Attempts: 5,
		Remaining: []spool.Recipient{{Address: "left@example.org"}},
	}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := tryPut(
			t, s, spool.NewID(now), []byte("content"), deliveries("b", now),
		); !errors.Is(err, spool.ErrFull) {
			t.Fatalf("error is %v, want ErrFull", err)
		}
	}
	// What could not be written is known all the same.
	l, err = s.Lease(t.Context(), spool.LeaseRequest{Max: 3, TTL: time.Minute})
	if err != nil || len(l.Leases) != 2 ||
		l.Leases[0].Delivery.Attempts+l.Leases[1].Delivery.Attempts != 5 {
		t.Fatalf("leased %+v, %v", l, err)
	}
	disk.Fault(nil)
	id := spool.NewID(now)
	put(t, s, id, []byte(contents(id, length(id))), deliveries("c", now))
	disk.Crash()
	s.Close()

	s = openDisk(t, dir, disk)
	l, err = s.Lease(t.Context(), spool.LeaseRequest{Max: 10, TTL: time.Minute})
	if err != nil || len(l.Leases) != 3 || len(s.Recovery().Damage) != 0 {
		t.Fatalf("leased %+v, %v; recovery %+v", l, err, s.Recovery())
	}
	for _, l := range l.Leases {
		if l.Delivery.ID == finish.Delivery.ID ||
			l.Delivery.ID == again.Delivery.ID && l.Delivery.Attempts != 5 ||
			l.Delivery.Key.Route == "b" {
			t.Fatalf("leased %+v", l.Delivery)
		}
	}
	s.Close()
}

func TestLimits(t *testing.T) {
	t.Parallel()
	now := time.Now()
	t.Run("MaxBytes", func(t *testing.T) {
		t.Parallel()
		const limit = 256 << 10
		s := open(t, t.TempDir(), &filespool.Options{MaxBytes: limit, Threshold: 10_000})
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ {
			err = tryPut(
				t, s, spool.NewID(now), make([]byte, 5000+n%2*10_000), deliveries("a", now),
			)
		}
		if !errors.Is(err, spool.ErrFull) || n < 10 {
			t.Fatalf("after %d messages the error is %v, want ErrFull", n, err)
		}
		// There is room again when the queue is served, for as long as one
		// likes.
		for range 20 {
			l, err := s.Lease(
				t.Context(), spool.LeaseRequest{Max: 1000, TTL: time.Minute},
			)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range l.Leases {
				if err := s.Settle(
					t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
				); err != nil {
					t.Fatal(err)
				}
			}
			s.Flush()
			for range 5 {
				put(t, s, spool.NewID(now), make([]byte, 12_000), deliveries("a", now))
				put(t, s, spool.NewID(now), make([]byte, 5_000), deliveries("a", now))
			}
		}
	})
	t.Run("MinFree", func(t *testing.T) {
		t.Parallel()
		disk := filespool.NewDisk(1)
		disk.FreeBytes = 1 << 20
		s, err := filespool.OpenFS(t.TempDir(), &filespool.Options{MinFree: 2 << 20}, disk)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Create(t.Context(), spool.NewID(now)); !errors.Is(err, spool.ErrFull) {
			t.Fatalf("error is %v, want ErrFull", err)
		}
	})
	t.Run("Closed", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := open(t, dir, &filespool.Options{MaxBytes: 1 << 20, Threshold: 10})
		w, err := s.Create(t.Context(), spool.NewID(now))
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := w.Write(make([]byte, 100)); !errors.Is(err, spool.ErrClosed) {
			t.Fatalf("error is %v, want ErrClosed", err)
		}
		w.Abort()
		if files, err := os.ReadDir(filepath.Join(dir, "files")); err != nil || len(files) > 0 {
			t.Fatalf("left %v, %v", files, err)
		}
	})
	t.Run("Options", func(t *testing.T) {
		t.Parallel()
		if _, err := filespool.Open(t.TempDir(), &filespool.Options{Threshold: -1}); err == nil {
			t.Fatal("a negative threshold was taken")
		}
	})
}

// TestSpace has much mail go through while some stays, and looks at what the
// log takes up.
func TestSpace(t *testing.T) {
	t.Parallel()
	disk := filespool.NewDisk(1)
	dir := t.TempDir()
	s := openDisk(t, dir, disk)
	now := time.Now()
	stays := model{}
	for i := range 3000 {
		id := spool.NewID(now)
		put(t, s, id, []byte(contents(id, length(id)%8)), deliveries("a", now))
		l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 3, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range l.Leases {
			settle := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
			if stay := i%50 == 0; stay || l.Delivery.Attempts > 0 {
				settle.Attempts = l.Delivery.Attempts + 1
				settle.Remaining, settle.Due = l.Delivery.Recipients, now.Add(time.Hour)
				stays[l.Delivery.ID] = settle.Attempts
			}
			if err := s.Settle(t.Context(), settle); err != nil {
				t.Fatal(err)
			}
		}
		if i%100 == 99 {
			// Those that stay have their next attempt.
			now = now.Add(time.Hour)
			s.Elapse(time.Until(now))
			s.Flush()
			if live, n := s.Live(); n > 8 {
				t.Fatalf("after %d messages the log has %d segments for %d bytes", i+1, n, live)
			}
		}
		if i%1000 == 999 {
			s.Flush()
			disk.Crash()
			s.Close()
			s = openDisk(t, dir, disk)
			s.Elapse(time.Until(now))
			l, err := s.Lease(
				t.Context(), spool.LeaseRequest{Max: 1000, TTL: time.Minute},
			)
			if err != nil {
				t.Fatal(err)
			}
			found := model{}
			for _, l := range l.Leases {
				found[l.Delivery.ID] = l.Delivery.Attempts
			}
			if !maps.Equal(found, stays) {
				t.Fatalf("found %d deliveries, want %d", len(found), len(stays))
			}
			s.Close()
			s = openDisk(t, dir, disk)
			s.Elapse(time.Until(now))
		}
	}
	s.Elapse(time.Until(now.Add(time.Hour)))
	l, err := s.Lease(
		t.Context(), spool.LeaseRequest{Max: 1000, TTL: time.Minute},
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range l.Leases {
		if err := s.Settle(
			t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
		); err != nil {
			t.Fatal(err)
		}
	}
	s.Flush()
	if live, n := s.Live(); live != 0 || n != 1 {
		t.Fatalf("an empty queue counts %d bytes in %d segments", live, n)
	}
	s.Close()
}

// TestCleanWhileSettled settles a delivery at the moment when the cleaner reads
// its message to copy it.
func TestCleanWhileSettled(t *testing.T) {
	t.Parallel()
	for _, last := range []bool{true, false} {
		disk := filespool.NewDisk(1)
		dir := t.TempDir()
		s := openDisk(t, dir, disk)
		now := time.Now()
		old := spool.NewID(now)
		put(t, s, old, []byte("old"), append(deliveries("stays", now), deliveries("goes", now)...))
		lease := func(max int, busy ...spool.Key) []spool.Lease {
			l, err := s.Lease(
				t.Context(), spool.LeaseRequest{Max: max, TTL: time.Minute, Busy: busy},
			)
			if err != nil {
				t.Fatal(err)
			}
			return l.Leases
		}
		held := lease(2)
		settle := func(l spool.Lease) {
			if err := s.Settle(
				t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
			); err != nil {
				t.Error(err)
			}
		}
		s.HoldCleaner(true)
		for range 16 {
			put(t, s, spool.NewID(now), make([]byte, 8000), deliveries("a", now))
			for _, l := range lease(1, spool.Key{Route: "stays"}, spool.Key{Route: "goes"}) {
				settle(l)
			}
		}
		reads := 0
		disk.Fault(func(op, name string) error {
			// The first read is of the segment's headers, the second of the
			// message.
			if op == "read" {
				reads++
			}
			if op == "read" && reads == 2 {
				settle(held[1])
				if last {
					settle(held[0])
				}
			}
			return nil
		})
		s.HoldCleaner(false)
		s.Flush()
		s.Flush() // what was settled meanwhile
		if _, n := s.Live(); n > 2 || reads < 2 {
			t.Fatalf("the log has %d segments after %d reads", n, reads)
		}
		disk.Crash()
		s.Close()
		s = openDisk(t, dir, disk)
		l := lease(100)
		if last && len(l) != 0 ||
			!last && (len(l) != 1 || l[0].Delivery.ID != held[0].Delivery.ID) {
			t.Fatalf("settled %v: leased %+v", last, l)
		}
		s.Close()
	}
}

// TestUnwritten has a settlement overtaken before it is in the log.
func TestUnwritten(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), &filespool.Options{SettleDelay: time.Hour})
	now := time.Now()
	put(t, s, spool.NewID(now), nil, deliveries("a", now))
	lease := func() spool.Lease {
		l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
		if err != nil || len(l.Leases) != 1 {
			t.Fatalf("leased %v, %v", l, err)
		}
		return l.Leases[0]
	}
	for i := range 3 {
		l := lease()
		if l.Delivery.Attempts != i {
			t.Fatalf("leased %+v", l.Delivery)
		}
		l.Delivery.Recipients[0].Diagnostic = strings.Repeat("ü", 300)
		if err := s.Settle(t.Context(), spool.Settlement{
			ID: l.Delivery.ID, Token: l.Token, Due: now, Attempts: i + 1,
			Remaining: l.Delivery.Recipients,
		}); err != nil {
			t.Fatal(err)
		}
	}
	l := lease()
	if d := l.Delivery.Recipients[0].Diagnostic; d != strings.Repeat("ü", 256) {
		t.Fatalf("diagnostic is %q", d)
	}
	if err := s.Settle(
		t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
	); err != nil {
		t.Fatal(err)
	}
	id := spool.NewID(now)
	put(t, s, id, nil, deliveries("b", now))
	if l := lease(); l.Message.ID != id || l.Delivery.Attempts != 0 || l.Delivery.Key.Route != "b" {
		t.Fatalf("leased %+v", l)
	}
	s.Flush()
	if live, _ := s.Live(); live > 300 {
		t.Fatalf("%d bytes count", live)
	}
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := filespool.Open(dir, &filespool.Options{MaxBytes: 10 << 30})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	r := s.Recovery()
	fmt.Println(r.Messages, "messages,", len(r.Damage), "places damaged")
	// Output: 0 messages, 0 places damaged
}
