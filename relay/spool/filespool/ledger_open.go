package filespool

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/postern-mail/postern/relay/spool"
)

// unknown stands for a place in a ledger that a damaged header told.
const unknown = ^spool.Cursor(0)

// sheetHead is the header of a sheet.
type sheetHead struct {
	mark        uint64
	before      spool.Cursor
	end, latest int64 // of the sheet before
}

func parseSheetHead(b []byte, number uint32) (h sheetHead, ok bool) {
	le := binary.LittleEndian
	if len(b) < sheetHeader || !mendSealed(b[:sheetHeader]) ||
		string(b[:8]) != sheetMagic || le.Uint32(b[8:]) != number {
		return h, false
	}
	return sheetHead{
		mark: le.Uint64(b[16:]), before: spool.Cursor(le.Uint64(b[24:])),
		end: int64(le.Uint64(b[32:])), latest: int64(le.Uint64(b[40:])),
	}, true
}

// open finds the sheets. Up to held they are all there is of the entries; what
// is behind, the log has as well.
func (l *ledger) open(held spool.Cursor) error {
	numbers, err := l.s.numbers(l.suffix)
	if err != nil || len(numbers) == 0 {
		l.mark = l.s.mark
		l.last = l.known(held)
		return err
	}
	heads, err := l.readHeads(numbers)
	if err != nil {
		return err
	}
	for i, n := range numbers {
		g := &sheet{number: n, end: sheetHeader}
		last := i == len(numbers)-1
		if i > 0 && numbers[i-1] != n-1 {
			l.s.damage(Damage{
				File: l.sheetName(n), What: "files before this one are missing",
			})
		}
		if next := i + 1; !last && heads[next] != nil && numbers[next] == n+1 &&
			heads[i] != nil {
			h := heads[next]
			g.before, g.newest, g.end, g.latest = heads[i].before, h.before, h.end, h.latest
		} else if err := l.examine(g, heads[i], last, held); err != nil {
			return err
		}
		l.sheets = append(l.sheets, g)
		l.bytes += g.end
	}
	g := l.sheets[len(l.sheets)-1]
	l.last = max(g.newest, l.known(held))
	if l.file, err = l.s.fs.OpenFile(l.path(g.number), openWrite); err != nil {
		return err
	}
	// A process may have died between the beginning of the sheet and its sync.
	if err := l.file.Sync(); err != nil {
		return err
	}
	return l.s.fs.SyncDir(l.s.dir)
}

func (l *ledger) known(held spool.Cursor) spool.Cursor {
	if held == unknown {
		return 0
	}
	return held
}

// readHeads reads the headers of sheets and learns the mark. The one of a
// damaged header is nil.
func (l *ledger) readHeads(numbers []uint32) ([]*sheetHead, error) {
	heads := make([]*sheetHead, len(numbers))
	for i, n := range numbers {
		f, err := l.s.fs.OpenFile(l.path(n), openRead)
		if err != nil {
			return nil, err
		}
		b := make([]byte, sheetHeader)
		k, err := f.ReadAt(b, 0)
		f.Close()
		if err != nil && err != io.EOF {
			return nil, err
		}
		if h, ok := parseSheetHead(b[:k], n); ok {
			heads[i], l.mark = &h, h.mark
		}
	}
	if l.mark == 0 {
		l.mark = l.s.mark
	}
	return heads, nil
}

// examine reads a whole sheet: the last one, to find its end, or one whose end
// is not known otherwise.
func (l *ledger) examine(g *sheet, h *sheetHead, last bool, held spool.Cursor) error {
	f, err := l.s.fs.OpenFile(l.path(g.number), openWrite)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	x := &exam{l: l, sheet: g, held: held, file: f, size: size}
	if h != nil {
		g.before, g.newest = h.before, h.before
	} else if n := len(l.sheets); n > 0 {
		g.before, g.newest = l.sheets[n-1].newest, l.sheets[n-1].newest
	}
	if err := x.read(last); err != nil {
		return err
	}
	if h != nil || !last {
		return nil
	}
	return x.mendHead()
}

// exam is the reading of a sheet whose end is not known.
type exam struct {
	l      *ledger
	sheet  *sheet
	held   spool.Cursor
	file   file
	size   int64
	passed *region // before the record to come
}

// read finds the end of the sheet and what is damaged in it.
func (x *exam) read(last bool) error {
	l, g := x.l, x.sheet
	v := &scan{file: x.file, mark: l.mark, number: g.number, limit: x.size, at: sheetHeader}
	v.damaged = func(from, to int64, _ string, _ *header) {
		x.passed = &region{from: from, to: to}
	}
	for {
		at := v.at
		r, ok := v.next()
		if !ok {
			break
		}
		e, ok := parseEntry(&r)
		if !ok {
			x.passed = &region{from: at, to: v.at}
			continue
		}
		if p := x.passed; p != nil {
			x.passed = nil
			if last && (g.newest >= x.held || e.before >= x.held) {
				return x.cut(p.from, p.to) // the log has what follows
			}
			x.report(p.from, p.to)
		}
		if g.newest == g.before {
			g.first = e.time
			if at == sheetHeader && g.before == 0 {
				g.before = e.before // of a sheet without a header
			}
		}
		g.newest, g.latest, g.end = e.at, max(g.latest, e.time), v.at
	}
	l.s.recovery.Read += v.read
	switch {
	case v.err != nil:
		return fmt.Errorf("filespool: read %s: %w", l.sheetName(g.number), v.err)
	case v.later:
		return fmt.Errorf("filespool: %s was written by a later version", l.sheetName(g.number))
	case last && v.tail:
		return x.cut(g.end, x.size)
	case last && g.newest < l.known(x.held):
		x.say(Damage{Offset: g.end, What: "end of the file is missing"})
	}
	return nil
}

// cut ends the last sheet where it is not whole any more. What was synced and
// is gone with it is damage; the rest is in the log.
func (x *exam) cut(from, to int64) error {
	if x.sheet.newest < x.held {
		x.report(from, to)
	}
	x.sheet.end = max(from, sheetHeader)
	if err := x.file.Truncate(x.sheet.end); err != nil {
		return err
	}
	return x.file.Sync()
}

func (x *exam) report(from, to int64) {
	x.say(Damage{
		Offset: from, Bytes: to - from, What: "not a record; passed over",
		Saved: x.l.save(x.sheet.number, x.file, from, to),
	})
}

func (x *exam) say(d Damage) {
	d.File = x.l.sheetName(x.sheet.number)
	x.l.s.damage(d)
}

// mendHead writes the header of the last sheet anew.
func (x *exam) mendHead() error {
	l := x.l
	if x.sheet.newest != x.sheet.before || x.size > sheetHeader {
		x.say(Damage{Bytes: sheetHeader, What: "header of the file is damaged; written anew"})
	}
	var old *sheet
	if n := len(l.sheets); n > 0 {
		old = l.sheets[n-1]
	}
	if err := writeFull(x.file, l.sheetHeader(x.sheet, old), 0); err != nil {
		return err
	}
	return x.file.Sync()
}
