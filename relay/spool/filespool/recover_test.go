package filespool_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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
