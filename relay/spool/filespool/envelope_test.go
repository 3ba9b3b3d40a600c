package filespool_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// envelope makes a store with one message, and returns its log and where the
// message's record and its content begin.
func envelope(t *testing.T, closed bool) (log []byte, id spool.ID, record, content int) {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir, &filespool.Options{SegmentBytes: 16 << 10})
	id = spool.NewID(time.Now())
	put(t, s, id, []byte(contents(id, 3)), deliveries("a", time.Now()))
	if closed {
		s.Close()
	}
	log, err := os.ReadFile(filepath.Join(dir, firstSegment))
	if err != nil {
		t.Fatal(err)
	}
	log = append(bytes.TrimRight(log, "\x00"), make([]byte, 100)...)
	return log, id, filespool.SegmentHeader, bytes.Index(log, []byte("Received: "))
}

// TestWrongByteInEnvelope damages each byte of what is known of a message
// beside its content, after the store was closed and after its process was
// killed: the message is delivered as it was meant to be.
func TestWrongByteInEnvelope(t *testing.T) {
	t.Parallel()
	for _, closed := range []bool{true, false} {
		log, id, from, to := envelope(t, closed)
		for at := from; at < to; at++ {
			for _, bits := range []byte{1 << (at % 8), 0xff, log[at]} { // and to zero
				if bits == 0 {
					continue
				}
				b := bytes.Clone(log)
				b[at] ^= bits
				s := open(t, withLog(t, b), &filespool.Options{
					Logger: filespool.Quiet(), InsecureNoSync: true, SegmentBytes: 16 << 10,
				})
				l, err := s.Lease(t.Context(), spool.LeaseRequest{
					Max: 9, TTL: time.Minute,
				})
				if err != nil || len(l.Leases) != 1 {
					t.Fatalf("closed %v, byte %d: leased %+v, %v", closed, at, l, err)
				}
				v := l.Leases[0]
				if v.Damaged != nil || v.Message.ID != id || v.Message.From != "app@example.com" ||
					v.Delivery.Recipients[0].Address != "someone@example.org" {
					t.Fatalf("closed %v, byte %d: leased %+v", closed, at, v)
				}
				if readAs(t, s, id) != nil {
					t.Fatalf("closed %v, byte %d: content cannot be read", closed, at)
				}
				r := s.Recovery()
				if len(r.Damage) != 1 || !r.Damage[0].Mended || r.Damage[0].Offset != int64(from) {
					t.Fatalf("closed %v, byte %d: recovery %+v", closed, at, r)
				}
				s.Close()
			}
		}
	}
}

// TestWrongByteInLastContent has a process be killed and a bit flip in the
// content of the last message: its sender can be told.
func TestWrongByteInLastContent(t *testing.T) {
	t.Parallel()
	log, id, _, content := envelope(t, false)
	s := open(t, withLog(t, flip(log, content+30)), &filespool.Options{Logger: filespool.Quiet()})
	if err := readAs(t, s, id); !errors.Is(err, spool.ErrDamaged) {
		t.Fatalf("error is %v, want ErrDamaged", err)
	}
}

// TestZeroInLastBatch has a process be killed and a byte of the first of two
// messages written at once become zero, the last of its content: its sender can
// be told, and the other message is as it was.
func TestZeroInLastBatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, &filespool.Options{SegmentBytes: 16 << 10})
	first, second := spool.NewID(time.Now()), spool.NewID(time.Now())
	put(t, s, first, []byte(contents(first, 3)), deliveries("a", time.Now()))
	put(t, s, second, []byte(contents(second, 3)), deliveries("a", time.Now()))
	log, err := os.ReadFile(filepath.Join(dir, firstSegment))
	if err != nil {
		t.Fatal(err)
	}
	mark := bytes.Clone(log[filespool.SegmentHeader:][:8])
	at := bytes.LastIndex(log, mark)
	filespool.SetBatch(log, at, 1)
	log[bytes.LastIndexByte(log[:at], '\n')] = 0
	s = open(t, withLog(t, log), &filespool.Options{Logger: filespool.Quiet()})
	if err := readAs(t, s, first); !errors.Is(err, spool.ErrDamaged) {
		t.Fatalf("error is %v, want ErrDamaged; recovery %+v", err, s.Recovery())
	}
	if err := readAs(t, s, second); err != nil {
		t.Fatalf("the other message: %v; recovery %+v", err, s.Recovery())
	}
}

// reused makes the file of a log one that is used again.
func reused(log []byte) []byte {
	log[12] = 1
	sum := crc32.Checksum(log[:60], crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(log[60:], sum)
	return log
}

// TestLastByteNotWritten has a write end before the last byte of a message, in
// a file that is used again: nobody was told that it is there, and it is not.
func TestLastByteNotWritten(t *testing.T) {
	t.Parallel()
	log, id, _, _ := envelope(t, false)
	log = bytes.TrimRight(log, "\x00")
	log[len(log)-1] ^= 1
	log = append(log, bytes.Repeat([]byte("what it held"), 20)...)
	s := open(t, withLog(t, reused(log)), &filespool.Options{Logger: filespool.Quiet()})
	if err := readAs(t, s, id); !errors.Is(err, spool.ErrNotFound) {
		t.Errorf("error is %v, want ErrNotFound", err)
	}
	if r := s.Recovery(); len(r.Damage) != 1 || !r.Damage[0].Torn {
		t.Errorf("recovery %+v", r)
	}
}

// TestPartNotWritten has the machine stop when a part of a long message was not
// written, and the checksum happen to take another byte for the only wrong one:
// nobody was told that the message is there, and it is not.
func TestPartNotWritten(t *testing.T) {
	t.Parallel()
	const long = 100_000
	for seed, part := range map[uint64][2]int{261: {95_000, long}, 303: {50_000, 51_024}} {
		r := rand.New(rand.NewPCG(seed, 0)) // one of some hundred
		content := make([]byte, long)
		for i := range content {
			content[i] = 'a' + byte(r.IntN(16))
		}
		dir, id := t.TempDir(), spool.NewID(time.Now())
		s := open(t, dir, nil)
		w, err := s.Create(t.Context(), id)
		if err == nil {
			_, err = w.Write(content)
		}
		if err == nil {
			err = w.Commit(t.Context(), spool.Commit{Deliveries: deliveries("a", time.Now())})
		}
		if err != nil {
			t.Fatal(err)
		}
		log, err := os.ReadFile(filepath.Join(dir, firstSegment))
		if err != nil {
			t.Fatal(err)
		}
		want := crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli))
		written := log[bytes.Index(log, content):][:long]
		clear(written[part[0]:part[1]])
		if !filespool.OneWrongByte(written, want) {
			t.Fatalf("without %d the checksum takes no byte for the wrong one", part)
		}
		s = open(t, withLog(t, log), &filespool.Options{Logger: filespool.Quiet()})
		if err := readAs(t, s, id); !errors.Is(err, spool.ErrNotFound) {
			t.Errorf("without %d the error is %v, want ErrNotFound", part, err)
		}
		if r := s.Recovery(); len(r.Damage) != 1 || !r.Damage[0].Torn {
			t.Errorf("without %d: recovery %+v", part, r)
		}
	}
}

// TestWrongByteBeforeUnfinishedRecord has a byte be wrong at the end of a
// message, behind which there is nothing, or another one was being written: its
// sender can be told.
func TestWrongByteBeforeUnfinishedRecord(t *testing.T) {
	t.Parallel()
	log, id, from, _ := envelope(t, false)
	log = bytes.TrimRight(log, "\x00")
	next := bytes.Clone(log[from:][:filespool.HeaderSize-1])
	log[len(log)-1] ^= 1
	for len(log)%8 > 0 {
		log = append(log, 0)
	}
	for _, behind := range [][]byte{nil, make([]byte, 100), next} {
		b := reused(append(bytes.Clone(log), behind...))
		s := open(t, withLog(t, b), &filespool.Options{Logger: filespool.Quiet()})
		if err := readAs(t, s, id); !errors.Is(err, spool.ErrDamaged) {
			t.Errorf("before %x: error is %v, want ErrDamaged", behind, err)
		}
	}
}

// TestStandingLost destroys when a delivery is due and whether it is on hold:
// it is leased as damaged, at once.
func TestStandingLost(t *testing.T) {
	t.Parallel()
	ds := deliveries("a", time.Now().Add(1000*time.Hour))
	ds[0].Held = true
	dir := t.TempDir()
	s := open(t, dir, nil)
	id := spool.NewID(time.Now())
	put(t, s, id, []byte(contents(id, 3)), ds)
	s.Close()
	change(t, filepath.Join(dir, firstSegment), func(b []byte) []byte {
		due := binary.LittleEndian.AppendUint64(nil, uint64(ds[0].Due.UnixNano()))
		at := bytes.Index(b, due)
		if at < 0 {
			t.Fatal("no due time in the log")
		}
		b[at] ^= 0x15
		b[at+len(due)] ^= 0xa0 // the crashes
		return b
	})
	s = open(t, dir, &filespool.Options{Logger: filespool.Quiet()})
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 9, TTL: time.Minute})
	if err != nil || len(l.Leases) != 1 {
		t.Fatalf("leased %+v, %v", l, err)
	}
	if v := l.Leases[0]; !errors.Is(v.Damaged, spool.ErrDamaged) || v.Message.ID != id {
		t.Fatalf("leased %+v", v)
	}
}

// TestEnvelopeLost destroys so much of a record that nobody knows any more whom
// it was for. That is leased once, as damaged, and what was found is kept.
func TestEnvelopeLost(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]int{"Header": 4, "Meta": 60} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log, id, at, _ := envelope(t, true)
			copy(log[at+from:], "all of this is wrong")
			dir := withLog(t, log)
			o := &filespool.Options{Logger: filespool.Quiet(), SettleDelay: time.Millisecond}
			lease := func(s *filespool.Store) []spool.Lease {
				l, err := s.Lease(t.Context(), spool.LeaseRequest{
					Max: 9, TTL: time.Minute,
				})
				if err != nil {
					t.Fatal(err)
				}
				return l.Leases
			}
			s := open(t, dir, o)
			first := lease(s)
			s.Close() // the process ends before anybody was told
			s = open(t, dir, o)
			ls := lease(s)
			if len(first) != 1 || len(ls) != 1 || ls[0].Delivery.ID != first[0].Delivery.ID {
				t.Fatalf("leased %+v, then %+v", first, ls)
			}
			l := ls[0]
			if !errors.Is(l.Damaged, spool.ErrDamaged) || l.Message.ID.IsZero() ||
				l.Delivery.ID.Message != l.Message.ID ||
				!strings.Contains(l.Damaged.Error(), firstSegment) {
				t.Fatalf("leased %+v", l)
			}
			if err := readAs(t, s, l.Message.ID); !errors.Is(err, spool.ErrDamaged) {
				t.Fatalf("error is %v, want ErrDamaged", err)
			}
			names := savedWith(t, dir, contents(id, 3))
			if len(names) != 1 || !strings.Contains(l.Damaged.Error(), names[0]) {
				t.Fatalf("saved %q, told %v", names, l.Damaged)
			}
			settle := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
			if err := s.Settle(t.Context(), settle); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s.Close()
				s = open(t, dir, o)
				if ls := lease(s); len(ls) != 0 {
					t.Fatalf("leased %+v", ls)
				}
			}
			if live, _ := s.Live(); live != 0 {
				t.Fatalf("%d bytes count", live)
			}
		})
	}
}

// TestEnvelopeLostAtRunTime destroys a record, and the record of a settlement,
// under the store's hands.
func TestEnvelopeLostAtRunTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, &filespool.Options{Logger: filespool.Quiet(), SettleDelay: time.Millisecond})
	lease := func() spool.Lease {
		t.Helper()
		l, err := s.Lease(
			t.Context(), spool.LeaseRequest{Max: 9, TTL: time.Minute},
		)
		if err != nil || len(l.Leases) != 1 {
			t.Fatalf("leased %+v, %v", l, err)
		}
		return l.Leases[0]
	}
	destroy := func(text string) {
		t.Helper()
		change(t, filepath.Join(dir, firstSegment), func(b []byte) []byte {
			at := bytes.LastIndex(b, []byte(text))
			if at < 0 {
				t.Fatalf("no %s in the log", text)
			}
			copy(b[at:], strings.Repeat("?", len(text)))
			return b
		})
	}
	id := spool.NewID(time.Now())
	put(t, s, id, []byte(contents(id, 1)), deliveries("a", time.Now()))
	l := lease()
	if err := s.Settle(t.Context(), spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Due: time.Now(), Attempts: 1,
		Remaining: []spool.Recipient{{Address: "someone@example.org", Diagnostic: "450 later"}},
	}); err != nil {
		t.Fatal(err)
	}
	s.Flush()
	destroy("450 later")
	if l = lease(); l.Damaged != nil || l.Delivery.Recipients[0].Address != "someone@example.org" {
		t.Fatalf("leased %+v", l)
	}
	if err := s.Settle(t.Context(), spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Due: time.Now(), Remaining: l.Delivery.Recipients,
	}); err != nil {
		t.Fatal(err)
	}
	s.Flush()
	destroy("app@example.com")
	if l = lease(); !errors.Is(l.Damaged, spool.ErrDamaged) || l.Delivery.ID.Message != id {
		t.Fatalf("leased %+v", l)
	}
	if names := savedWith(t, dir, contents(id, 1)); len(names) != 1 {
		t.Fatalf("saved %q", names)
	}
	if err := s.Settle(
		t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
	); err != nil {
		t.Fatal(err)
	}
	s.Flush()
	if st, err := s.Stats(t.Context()); err != nil || st.Messages != 0 {
		t.Fatalf("stats %+v, %v", st, err)
	}
}
