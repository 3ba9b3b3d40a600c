package filespool

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

var _ spool.Log = (*Store)(nil)

// sheetAge bounds how much longer than asked a quiet log keeps events.
const sheetAge = 24 * time.Hour

var (
	errTooMany = errors.New("filespool: too many events in one step")
	errAhead   = errors.New("filespool: cursor is behind the newest record")
	errNoMax   = errors.New("filespool: no records wanted")
)

// checkEvents refuses events that the store cannot keep.
func checkEvents(lists ...[]spool.Record) error {
	n := 0
	for _, list := range lists {
		n += len(list)
		for i := range list {
			if len(list[i].Data) > spool.MaxRecord {
				return spool.ErrRecordSize
			}
		}
	}
	if n > maxEntries {
		return errTooMany
	}
	return nil
}

// eventLists are the events of a step in their order.
func eventLists(events []spool.Record, settle []spool.Settlement) [][]spool.Record {
	var lists [][]spool.Record
	if len(events) > 0 {
		lists = append(lists, events)
	}
	for i := range settle {
		if len(settle[i].Events) > 0 {
			lists = append(lists, settle[i].Events)
		}
	}
	return lists
}

// entriesOf makes entries of events, of which they keep nothing.
func entriesOf(lists ...[]spool.Record) []entry {
	var n, size int
	for _, list := range lists {
		n += len(list)
		for i := range list {
			size += len(list[i].Data)
		}
	}
	if n == 0 {
		return nil
	}
	es, data := make([]entry, 0, n), make([]byte, 0, size)
	for _, list := range lists {
		for i := range list {
			from := len(data)
			data = append(data, list[i].Data...)
			es = append(es, entry{
				time: nanos(list[i].Time), data: data[from:len(data):len(data)],
			})
		}
	}
	return es
}

// appendEvents adds the part of a record that holds its events.
func appendEvents(b []byte, es []entry) []byte {
	return appendRest(b, func(b []byte) []byte {
		for i := range es {
			b = binary.AppendUvarint(appendTime(b, es[i].time), uint64(len(es[i].data)))
			b = append(b, es[i].data...)
		}
		return b
	})
}

// events reads what appendEvents wrote.
func (d *decoder) events() (es []entry) {
	end := uint64(d.uint32())
	if end > uint64(len(d.b)-d.at) {
		d.bad = true
		return nil
	}
	for to := d.at + int(end); d.at < to && !d.bad; {
		es = append(es, entry{time: d.time(), data: d.bytes()})
		d.bad = d.bad || d.at > to || len(es) > maxEntries
	}
	return es
}

// Records returns events that are synced.
func (s *Store) Records(
	ctx context.Context, after spool.Cursor, max int,
) ([]spool.Logged, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	s.mu.Unlock()
	if max <= 0 {
		return nil, errNoMax
	}
	es, err := s.events.read(after, max)
	out := make([]spool.Logged, len(es))
	for i, e := range es {
		out[i] = spool.Logged{At: e.at, Record: spool.Record{Time: fromNanos(e.time), Data: e.data}}
	}
	return out, err
}

// Truncate removes files of events that are all older. A file is added to for a
// day at most, so that much more is kept.
func (s *Store) Truncate(ctx context.Context, before time.Time) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.mu.Unlock()
	n := nanos(before)
	return s.events.drop(func(g *sheet) bool { return g.newest == g.before || g.latest < n })
}

// Appended returns a channel that is closed at the next event, or by Close.
func (s *Store) Appended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.events
	if s.closed {
		c := make(chan struct{})
		close(c)
		return c
	}
	if l.grown == nil {
		l.grown = make(chan struct{})
	}
	return l.grown
}

// Bounds returns the places in front of the oldest event and behind the newest.
func (s *Store) Bounds(ctx context.Context) (oldest, newest spool.Cursor, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, 0, err
	}
	defer s.mu.Unlock()
	oldest, newest = s.events.bounds()
	return oldest, newest, nil
}
