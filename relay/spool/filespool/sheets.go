package filespool

import (
	"fmt"
	"slices"

	"github.com/postern-mail/postern/relay/spool"
)

// write puts what is pending into sheets. What fails is written by a later
// call.
func (l *ledger) write() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		l.s.mu.Lock()
		es := l.pending
		l.s.mu.Unlock()
		if len(es) == 0 {
			return nil
		}
		if err := l.writeSome(es); err != nil {
			return fmt.Errorf("filespool: write %s: %w", l.suffix[1:], full(err))
		}
	}
}

// writeSome writes as many entries as the last sheet takes.
func (l *ledger) writeSome(es []entry) error {
	g := l.sheet()
	if g == nil || l.filled || l.isFilled(g, &es[0]) {
		if err := l.turnOver(es[0].before); err != nil {
			return err
		}
		g = l.sheet()
	}
	n, waiting, latest := 0, int64(0), g.latest
	b := l.buf[:0]
	for n < len(es) && (n == 0 || g.end+int64(len(b)) < l.sheetBytes && len(b) < batchLimit) {
		e := &es[n]
		b = l.appendEntry(b, e, g.number)
		latest, waiting = max(latest, e.time), waiting+int64(len(e.data))
		n++
	}
	if l.buf = b; cap(b) > batchLimit {
		l.buf = nil
	}
	if err := writeFull(l.file, b, g.end); err != nil {
		return err
	}
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if g.newest == g.before {
		g.first = es[0].time
	}
	g.end, g.newest, g.latest = g.end+int64(len(b)), es[n-1].at, latest
	l.bytes += int64(len(b))
	l.waiting -= waiting
	if l.pending = l.pending[n:]; len(l.pending) == 0 {
		l.pending = nil
	}
	return nil
}

// sheet returns the last sheet, which only those who hold l.mu change.
func (l *ledger) sheet() *sheet {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if n := len(l.sheets); n > 0 {
		return l.sheets[n-1]
	}
	return nil
}

func (l *ledger) isFilled(g *sheet, e *entry) bool {
	if g.newest == g.before {
		return false
	}
	return g.end >= l.sheetBytes || l.age > 0 && e.time-g.first > int64(l.age)
}

// turnOver begins the next sheet. From then on nothing may be added to the one
// before: its end stands in the header of the next.
func (l *ledger) turnOver(before spool.Cursor) error {
	old := l.sheet()
	next := &sheet{number: 1, before: before, newest: before, end: sheetHeader}
	if old != nil {
		l.filled = true
		next.number = old.number + 1
		if err := l.file.Sync(); err != nil {
			return l.s.unsynced(err)
		}
	}
	f, err := l.s.fs.OpenFile(l.path(next.number), openCreate)
	if err != nil {
		return err
	}
	if err := l.begin(f, next, old); err != nil {
		f.Close()
		return err
	}
	if old != nil {
		l.file.Close()
	}
	l.file, l.filled, l.synced = f, false, before
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.sheets = append(l.sheets, next)
	l.bytes += next.end
	return nil
}

// begin writes the header of a sheet and makes its name durable.
func (l *ledger) begin(f file, g, old *sheet) error {
	if err := writeFull(f, l.sheetHeader(g, old), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return l.s.unsynced(err)
	}
	if err := l.s.fs.SyncDir(l.s.dir); err != nil {
		return l.s.unsynced(err)
	}
	return nil
}

// sync makes durable what the ledger has up to a cursor, so that the log need
// not keep it. It reports whether that was possible.
func (l *ledger) sync(to spool.Cursor) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s.mu.Lock()
	to = min(to, l.last)
	l.s.mu.Unlock()
	if to <= l.synced {
		return true
	}
	g := l.sheet()
	if g == nil || g.newest < to {
		return false // not written yet
	}
	if err := l.file.Sync(); err != nil {
		l.s.log.Warn("filespool: cannot sync", "file", l.sheetName(g.number),
			"err", l.s.unsynced(err))
		return false
	}
	l.synced = g.newest
	return true
}

// drop removes sheets, from the oldest on, as long as old says so. The last one
// is replaced by an empty one, which remembers where the ledger ends.
func (l *ledger) drop(old func(g *sheet) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		l.s.mu.Lock()
		n, waits := len(l.sheets), l.waits()
		var g *sheet
		if n > 0 {
			g = l.sheets[0]
		}
		l.s.mu.Unlock()
		switch {
		case n == 0 || !old(g) || n == 1 && (waits || g.newest == g.before):
			return nil
		case n == 1:
			if err := l.turnOver(g.newest); err != nil {
				return full(err)
			}
		}
		if err := l.remove(g); err != nil {
			return err
		}
	}
}

// remove takes the oldest sheet out and removes its file.
func (l *ledger) remove(g *sheet) error {
	s := l.s
	s.mu.Lock()
	l.sheets = slices.Clone(l.sheets[1:])
	l.bytes -= g.end
	s.mu.Unlock()
	err := s.fs.Remove(l.path(g.number))
	if err == nil || isGone(err) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.sheets = slices.Insert(l.sheets, 0, g)
	l.bytes += g.end
	return err
}
