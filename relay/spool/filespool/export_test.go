package filespool

import (
	"log/slog"
	"runtime"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	HeaderSize    = headerSize
	SegmentHeader = segmentHeader
	KindCommit    = kindCommit
)

// Decode reads a meta part in every way there is.
func Decode(meta []byte) {
	decodeCommit(meta)
	for _, kind := range []byte{kindCommit, kindSettle} {
		decodeUpdate(kind, meta, spool.ID{}, 0)
	}
	s := &Store{index: newIndex(), log: quiet(), now: time.Now}
	s.events, s.claims = newLedger(s, ".events", 0), newClaims(s)
	g := &segment{number: 1}
	for _, kind := range []byte{kindCommit, kindSettle} {
		s.apply(g, &found{header: header{kind: kind, meta: uint32(len(meta))}, body: meta})
	}
}

// Seal makes a header and the sum of a meta part valid.
func Seal(segment []byte, at int, mark uint64, number uint32, seq uint64) {
	if at < 0 || at+headerSize > len(segment) {
		return
	}
	var h header
	h.parse(segment[at:])
	h.mark, h.segment, h.seq, h.version = mark, number, seq, version
	h.kind = h.kind%3 + 1
	h.meta %= 200
	h.content %= 200
	if end := at + headerSize + int(h.meta); end <= len(segment) {
		h.metaSum = sum(segment[at+headerSize : end])
	}
	h.put(segment[at:])
}

// SegmentFile returns the header of a segment and its mark.
func SegmentFile(number uint32) ([]byte, uint64) {
	s := &Store{mark: 0x1122334455667788}
	return s.segmentHeader(number, 0, false, marks{})[:segmentHeader], s.mark
}

// EncodeCommit makes the meta part of a record.
func EncodeCommit(m *spool.Message, ds []spool.Delivery, ss []spool.Settlement) []byte {
	return appendCommit(nil, m, nil, ds, ss, extras{})
}

// DecodeCommit reads the meta part of a record.
func DecodeCommit(meta []byte) (spool.Message, bool) {
	m, _, _, ok := decodeCommit(meta)
	return m, ok
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Quiet is a logger for tests that look for damage.
func Quiet() *slog.Logger { return quiet() }

// Live returns the bytes of records that count, and the number of segments.
func (s *Store) Live() (live int64, segments int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live, len(s.segments)
}

// Flush waits until what has gathered is written, and what is to be cleaned is
// clean.
func (s *Store) Flush() {
	s.mu.Lock()
	b := s.enqueue(&record{kind: kindSettle, meta: []byte{0}, done: func(loc, error) {}}, true)
	s.mu.Unlock()
	<-b.done
	for {
		s.mu.Lock()
		more := s.failed == nil &&
			s.wantsCleaning()
		s.mu.Unlock()
		if !more {
			return
		}
		s.wakeCleaner()
		runtime.Gosched()
	}
}

// SetVersion makes a record one of another version.
func SetVersion(segment []byte, at int, v byte) {
	setHeader(segment, at, func(h *header) { h.version = v })
}

// SetBatch makes a record one with n before it in its batch.
func SetBatch(segment []byte, at int, n uint32) {
	setHeader(segment, at, func(h *header) { h.batch = n })
}

func setHeader(segment []byte, at int, f func(h *header)) {
	var h header
	h.parse(segment[at:])
	f(&h)
	h.put(segment[at:])
}

// Committing counts the messages on their way into the log, and what has
// gathered behind the batch that is being written.
func (s *Store) Committing() (messages, gathered int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.committing), len(s.batch.ops)
}

// HoldCleaner keeps the log from being thinned, or no longer.
func (s *Store) HoldCleaner(hold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanAfter = time.Time{}
	if hold {
		s.cleanAfter = time.Now().Add(time.Hour)
	}
}

// Elapse moves the store's clock.
func (s *Store) Elapse(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = func() time.Time { return time.Now().Add(d) }
}

// SetMaxClaims sets how many keys are kept.
func (s *Store) SetMaxClaims(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims.max = n
	s.claims.trim(nanos(s.now()))
}

// ReadConsumers and AppendConsumers are the file of the consumers.
func ReadConsumers(b []byte) (map[string]spool.Cursor, bool)      { return parseConsumers(b) }
func AppendConsumers(b []byte, at map[string]spool.Cursor) []byte { return appendConsumers(b, at) }

// ReadShared reads the file of shared items and returns it as written again.
func ReadShared(b []byte) ([]byte, bool) {
	h := newShared(&Store{now: time.Now, opened: time.Now()})
	ok := h.parse(b)
	return h.append(nil), ok
}

// ReadClaim reads a claim and returns it as written again.
func ReadClaim(b []byte) ([]byte, bool) {
	k, c, ok := parseClaim(b)
	return appendClaim(nil, k, &c), ok
}

// ReadEvents reads the events of a record and returns them as written again.
func ReadEvents(b []byte) ([]byte, bool) {
	d := &decoder{b: b}
	es := d.events()
	return appendEvents(nil, es), !d.bad
}

// Sheet returns a file of events with the data given.
func Sheet(data ...[]byte) []byte {
	l := &ledger{mark: 7}
	g := &sheet{number: 1}
	b := l.sheetHeader(g, nil)
	last := spool.Cursor(0)
	for i, p := range data {
		e := entry{at: cursor(uint64(i+1), 0), before: last, data: p}
		b, last = l.appendEntry(b, &e, 1), e.at
	}
	return b
}

// SharedFile returns the file of shared items.
func (s *Store) SharedFile() []byte { return s.shared.append(nil) }

// Compared counts how often lines are compared while f runs.
func (s *Store) Compared(f func()) (n int) {
	x := s.index
	less := x.lineLess
	x.lineLess = func(a, b uint32) bool {
		n++
		return less(a, b)
	}
	f()
	x.lineLess = less
	return n
}

// OneWrongByte tells whether a checksum takes p for what it is of but for a
// byte.
func OneWrongByte(p []byte, want uint32) bool {
	_, bits, ok := wrongByte(p, want)
	return ok && bits != 0
}
