package filespool

import (
	"encoding/binary"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// A ledger keeps what outlives the record of the log that it came with: events
// and idempotency keys. It is a row of files, its sheets, that only grow. Each
// entry is a record as in the log, with the place of the entry before it, so
// that a reader notices what is missing.
//
// An entry is copied from the log right after the log was synced, and need not
// be synced itself before its segment of the log goes: until then the log has
// it, and Open copies again what the sheets have not.
type ledger struct {
	s      *Store
	suffix string
	mark   uint64
	// sheetBytes is the length of a sheet, age how long one is added to;
	// 0 is no bound.
	sheetBytes int64
	age        time.Duration
	// gather is how many bytes are written at a time, unless all are.
	gather int64

	mu     sync.Mutex // held while sheets are written, begun and dropped
	file   file       // the last sheet
	filled bool       // the last sheet takes no more
	synced spool.Cursor
	buf    []byte
	told   map[string]struct{} // damage that is known

	// With Store.mu held.
	sheets  []*sheet // oldest first
	pending []entry  // durable in the log, not in a sheet yet
	waiting int64    // bytes of these
	last    spool.Cursor
	// broken tells that the log was damaged, so that entries behind the last
	// may be missing.
	broken bool
	bytes  int64 // of all sheets
	places [64]place
	turn   int
	grown  chan struct{} // closed at the next entry; nil if nobody waits
}

// entry is what a ledger keeps.
type entry struct {
	at, before spool.Cursor
	time       int64
	data       []byte
}

// sheet is one file of a ledger.
type sheet struct {
	number         uint32
	before, newest spool.Cursor // the last entries of the sheets before, and of this one
	end            int64
	first, latest  int64 // the time of the first entry, and the greatest
}

// place is where in a sheet the entry behind a cursor lies.
type place struct {
	after  spool.Cursor
	number uint32
	offset int64
}

const (
	sheetHeader = 64
	sheetMagic  = "POSTERN\x02"
	sheetBytes  = 16 << 20
	kindEntry   = 4
	entryHead   = 16
	maxEntries  = 1<<16 - 1 // of one record of the log
)

// cursor is the place behind the i-th entry of a record of the log.
func cursor(seq uint64, i int) spool.Cursor { return spool.Cursor(seq<<16 | uint64(i+1)) }

// inFront is the place in front of the entries of a record.
func inFront(at spool.Cursor) spool.Cursor { return at &^ maxEntries }

func newLedger(s *Store, suffix string, age time.Duration) *ledger {
	l := &ledger{
		s: s, suffix: suffix, age: age, told: make(map[string]struct{}),
		sheetBytes: min(max(s.segmentBytes/4, 4<<10), sheetBytes),
	}
	l.gather = min(l.sheetBytes/8, 64<<10)
	return l
}

func (l *ledger) sheetName(number uint32) string { return numbered(number, l.suffix) }

func (l *ledger) path(number uint32) string {
	return filepath.Join(l.s.dir, l.sheetName(number))
}

// The header of a sheet:
//
//	 0  magic   8
//	 8  number  4
//	12  (zero)  4
//	16  mark    8
//	24  before  8  the last entry of the sheets before
//	32  end     8  where the sheet before ends
//	40  latest  8  the greatest time in it
//	60  sum     4
func (l *ledger) sheetHeader(g, old *sheet) []byte {
	b := make([]byte, sheetHeader)
	copy(b, sheetMagic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], g.number)
	le.PutUint64(b[16:], l.mark)
	le.PutUint64(b[24:], uint64(g.before))
	if old != nil {
		le.PutUint64(b[32:], uint64(old.end))
		le.PutUint64(b[40:], uint64(old.latest))
	}
	le.PutUint32(b[60:], sum(b[:60]))
	return b
}

// appendEntry adds the record of an entry.
func (l *ledger) appendEntry(b []byte, e *entry, number uint32) []byte {
	at := len(b)
	b = append(b, make([]byte, headerSize)...)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.before))
	b = appendTime(b, e.time)
	b = append(b, e.data...)
	body := b[at+headerSize:]
	h := header{
		mark: l.mark, seq: uint64(e.at), kind: kindEntry, version: version,
		meta: uint32(len(body)), metaSum: sum(body), segment: number,
	}
	h.put(b[at:])
	return append(b, make([]byte, at+int(h.size())-len(b))...)
}

// parseEntry reads the record of an entry. Its data are those of the record.
func parseEntry(r *found) (e entry, ok bool) {
	if r.kind != kindEntry || len(r.body) < entryHead {
		return entry{}, false
	}
	return entry{
		at:     spool.Cursor(r.seq),
		before: spool.Cursor(binary.LittleEndian.Uint64(r.body)),
		time:   int64(binary.LittleEndian.Uint64(r.body[8:])),
		data:   r.body[entryHead:],
	}, true
}

// add takes entries that are durable in the log. It keeps their data. The
// caller holds the lock.
func (l *ledger) add(es ...entry) {
	for _, e := range es {
		e.before = l.last
		if l.broken && l.last > 0 {
			e.before = inFront(e.at)
		}
		l.broken = false
		l.last = e.at
		l.pending = append(l.pending, e)
		l.waiting += int64(len(e.data))
	}
	if len(es) > 0 && l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
}

// restore takes the entries of a record of the log that Open has found. It
// keeps nothing of them.
func (l *ledger) restore(seq uint64, es ...entry) {
	if cursor(seq, -1) <= l.last {
		l.broken = false // what the sheets have is all there was
	}
	for i, e := range es {
		e.at, e.data = cursor(seq, i), slices.Clone(e.data)
		if e.at > l.last {
			l.add(e)
		}
	}
}

// overdue tells whether so much waits to be written that no more may come. The
// caller holds the lock.
func (l *ledger) overdue() bool { return l.waiting > unwrittenLimit }

// waits tells whether there is anything to write. The caller holds the lock.
func (l *ledger) waits() bool { return len(l.pending) > 0 }

// bounds returns the places in front of the oldest entry and behind the newest.
// The caller holds the lock.
func (l *ledger) bounds() (oldest, newest spool.Cursor) {
	switch {
	case len(l.sheets) > 0:
		return l.sheets[0].before, l.last
	case len(l.pending) > 0:
		return l.pending[0].before, l.last
	}
	return l.last, l.last
}

// close closes the file and wakes who waits.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.sheets, l.pending = nil, nil
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
}
