package memspool

import (
	"bytes"
	"sort"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// recordCost is what a record takes beside its data.
const recordCost = 64

// events are the records of the log, bounded in bytes.
type events struct {
	max   int64
	bytes int64
	list  []spool.Logged // oldest first
	last  spool.Cursor
	grown chan struct{} // nil while nobody waits
}

// append adds the records of a step.
func (e *events) append(lists ...[]spool.Record) {
	before := e.last
	for _, list := range lists {
		for _, r := range list {
			e.last++
			r.Data = bytes.Clone(r.Data)
			e.list = append(e.list, spool.Logged{At: e.last, Record: r})
			e.bytes += recordCost + int64(len(r.Data))
		}
	}
	for e.bytes > e.max && len(e.list) > 0 {
		e.drop()
	}
	if e.last > before {
		e.tell()
	}
}

// drop forgets the oldest record.
func (e *events) drop() {
	e.bytes -= recordCost + int64(len(e.list[0].Data))
	e.list[0] = spool.Logged{}
	e.list = e.list[1:]
}

// truncate forgets what is older, up to the first that stays.
func (e *events) truncate(before time.Time) {
	for len(e.list) > 0 && e.list[0].Time.Before(before) {
		e.drop()
	}
}

// tell wakes those who wait for more.
func (e *events) tell() {
	if e.grown != nil {
		close(e.grown)
		e.grown = nil
	}
}

// oldest is the place in front of the oldest record.
func (e *events) oldest() spool.Cursor { return e.last - spool.Cursor(len(e.list)) }

// read returns records behind a place.
func (e *events) read(after spool.Cursor, most int) ([]spool.Logged, error) {
	if oldest := e.oldest(); after < oldest {
		return nil, &spool.GapError{After: after, Oldest: oldest}
	}
	from := sort.Search(len(e.list), func(i int) bool { return e.list[i].At > after })
	out := append([]spool.Logged(nil), e.list[from:min(len(e.list), from+most)]...)
	for i := range out {
		out[i].Data = bytes.Clone(out[i].Data)
	}
	return out, nil
}
