package filespool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"sort"

	"github.com/postern-mail/postern/relay/spool"
)

// readBytes is how much is read at a time, about.
const readBytes = 1 << 20

func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func asGap(err error) (*spool.GapError, bool) { return errors.AsType[*spool.GapError](err) }

// reading gathers entries behind a cursor.
type reading struct {
	l     *ledger
	after spool.Cursor
	max   int
	bytes int
	out   []entry
}

// read returns at most max entries behind a cursor. It answers a *GapError only
// in place of entries.
func (l *ledger) read(after spool.Cursor, max int) ([]entry, error) {
	r := &reading{l: l, after: after, max: max}
	for !r.full() {
		v, ok := l.view(r.after)
		if !ok {
			return r.out, nil
		}
		var err error
		if v.sheet == nil {
			for i := 0; i < len(v.pending) && err == nil && !r.full(); i++ {
				err = r.take(v.pending[i])
			}
		} else {
			err = r.readSheet(&v)
		}
		if err != nil && len(r.out) > 0 {
			return r.out, nil // the next call finds the same
		}
		if err != nil {
			return nil, err
		}
	}
	return r.out, nil
}

func (r *reading) full() bool { return len(r.out) >= r.max || r.bytes >= readBytes }

// take adds an entry unless something before it is missing.
func (r *reading) take(e entry) error {
	if e.at <= r.after {
		return nil
	}
	if e.before > r.after {
		return &spool.GapError{After: r.after, Oldest: e.before}
	}
	e.data = bytes.Clone(e.data)
	r.out = append(r.out, e)
	r.bytes += len(e.data)
	r.after = e.at
	return nil
}

// view is where the entries behind a cursor lie: in a sheet, or in memory.
type view struct {
	sheet   *sheet // a copy
	last    bool   // of the sheets
	offset  int64
	pending []entry
}

func (l *ledger) view(after spool.Cursor) (v view, ok bool) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if after >= l.last {
		return v, false
	}
	i := sort.Search(len(l.sheets), func(i int) bool { return l.sheets[i].newest > after })
	if i == len(l.sheets) {
		n := sort.Search(len(l.pending), func(n int) bool { return l.pending[n].at > after })
		v.pending = l.pending[n:]
		return v, len(v.pending) > 0
	}
	g := *l.sheets[i]
	v.sheet, v.last, v.offset = &g, i == len(l.sheets)-1, sheetHeader
	for _, p := range l.places {
		if p.after == after && p.number == g.number {
			v.offset = p.offset
		}
	}
	return v, true
}

// remember notes where reading is likely to go on.
func (l *ledger) remember(p place) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.places[l.turn%len(l.places)] = p
	l.turn++
}

// has tells whether a sheet is one of the ledger.
func (l *ledger) has(number uint32) bool {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	for _, g := range l.sheets {
		if g.number == number {
			return true
		}
	}
	return false
}

// readSheet takes what a sheet has.
func (r *reading) readSheet(v *view) error {
	l, g := r.l, v.sheet
	f, err := l.s.fs.OpenFile(l.path(g.number), openRead)
	if isGone(err) {
		if !l.has(g.number) {
			return nil // dropped meanwhile
		}
		l.spoil(g.number, nil, sheetHeader, g.end, "a file is missing")
		return &spool.GapError{After: r.after, Oldest: g.newest}
	}
	if err != nil {
		return fmt.Errorf("filespool: %w", err)
	}
	defer f.Close()
	w := &scan{
		file: f, mark: l.mark, number: g.number, limit: g.end, exact: true, at: v.offset,
	}
	w.damaged = func(from, to int64, what string, _ *header) {
		l.spoil(g.number, f, from, to, what)
	}
	if err := r.takeFrom(w); err != nil || r.full() {
		return err
	}
	if r.after >= g.newest {
		return nil
	}
	return &spool.GapError{After: r.after, Oldest: g.newest} // the end cannot be read
}

// takeFrom takes what is left of a sheet.
func (r *reading) takeFrom(w *scan) error {
	began := len(r.out)
	for !r.full() {
		rec, ok := w.next()
		if !ok {
			break
		}
		e, ok := parseEntry(&rec)
		if !ok {
			continue // and what follows it tells
		}
		if err := r.take(e); err != nil {
			return err
		}
	}
	if len(r.out) > began {
		r.l.remember(place{after: r.after, number: w.number, offset: w.at})
	}
	if w.err != nil {
		return fmt.Errorf("filespool: read %s: %w", r.l.sheetName(w.number), w.err)
	}
	if w.later {
		return fmt.Errorf("filespool: %s was written by a later version", r.l.sheetName(w.number))
	}
	return nil
}

// spoil makes known, once, that a part of a sheet is damaged.
func (l *ledger) spoil(number uint32, f file, from, to int64, what string) {
	d := Damage{File: l.sheetName(number), Offset: from, Bytes: to - from, What: what}
	key := fmt.Sprint(d.File, "/", from)
	l.s.mu.Lock()
	_, known := l.told[key]
	l.told[key] = struct{}{}
	l.s.mu.Unlock()
	if known {
		return
	}
	if f != nil {
		d.Saved = l.save(number, f, from, to)
	}
	l.s.log.Error("filespool: damage", d.attrs()...)
}

// save keeps a copy of a part of a sheet beside it, and returns its name.
func (l *ledger) save(number uint32, f file, from, to int64) string {
	name := l.sheetName(number)
	return l.s.keep(f, from, to, name, fmt.Sprintf("%s-%d%s", name, from, savedSuffix))
}
