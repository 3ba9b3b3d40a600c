package spooltest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

func logCases() []testCase {
	return []testCase{
		{"LogOrder", hasLog, (*suite).logOrder},
		{"LogRecordSize", hasLog, (*suite).logRecordSize},
		{"LogOfFailedSteps", hasLog, (*suite).logOfFailedSteps},
		{"LogCursor", hasLog, (*suite).logCursor},
		{"LogTruncate", hasLog, (*suite).logTruncate},
		{"LogAppended", hasLog, (*suite).logAppended},
		{"LogConcurrent", hasLog, (*suite).logConcurrent},
	}
}

func hasLog(s spool.Store) bool { _, ok := s.(spool.Log); return ok }

func (s *suite) log() spool.Log { return s.Store.(spool.Log) }

// record is an event of this moment.
func (s *suite) record(data string) spool.Record {
	return spool.Record{Time: s.now, Data: []byte(data)}
}

// records waits until there are n behind a place and returns them.
func (s *suite) records(after spool.Cursor, n int) []spool.Logged {
	s.Helper()
	var list []spool.Logged
	for deadline := time.Now().Add(s.patience); ; {
		more := s.log().Appended()
		got, err := s.log().Records(s.Context(), after, 100)
		s.ok(err)
		for _, r := range got {
			if r.At <= after {
				s.Fatalf("a record at %d behind %d", r.At, after)
			}
			after = r.At
		}
		if list = append(list, got...); len(list) >= n {
			return list
		}
		if len(got) > 0 {
			continue
		}
		select {
		case <-more:
		case <-time.After(time.Until(deadline)):
			s.Fatalf("the log has %d records, want %d: %v", len(list), n, texts(list))
		}
	}
}

func texts(list []spool.Logged) []string {
	var out []string
	for _, r := range list {
		out = append(out, string(r.Data))
	}
	return out
}

func (s *suite) wantLog(want ...string) []spool.Logged {
	s.Helper()
	list := s.records(0, len(want))
	if got := texts(list); !slices.Equal(got, want) {
		s.Fatalf("the log has %q, want %q", got, want)
	}
	return list
}

// accept commits a message for a, with events.
func (s *suite) accept(events ...spool.Record) spool.ID {
	s.Helper()
	id := s.id()
	s.ok(s.write(id, []byte("content")).Commit(s.Context(), spool.Commit{
		Deliveries: []spool.Delivery{s.delivery("a", s.now)}, Events: events,
	}))
	return id
}

// logOrder logs the events of each step in order: those of a commit before
// those of what it settles.
func (s *suite) logOrder() {
	first := s.record("accepted 1")
	s.accept(first, s.record("accepted 2"))
	clear(first.Data)
	s.accept()
	ls := s.leaseN(spool.LeaseRequest{}, 2)
	s.ok(s.Settle(s.Context(), spool.Settlement{
		ID: ls[0].Delivery.ID, Token: ls[0].Token, Remaining: ls[0].Delivery.Recipients,
		Events: []spool.Record{s.record("deferred")},
	}))
	s.ok(s.write(s.id(), nil).Commit(s.Context(), spool.Commit{
		Deliveries: []spool.Delivery{s.delivery("back", s.now.Add(time.Hour))},
		Events:     []spool.Record{s.record("report")},
		Settle: []spool.Settlement{{
			ID: ls[1].Delivery.ID, Token: ls[1].Token,
			Events: []spool.Record{s.record("bounced 1"), s.record("bounced 2")},
		}},
	}))
	s.finish(s.one())
	list := s.wantLog(
		"accepted 1", "accepted 2", "deferred", "report", "bounced 1", "bounced 2",
	)
	for i, r := range list {
		if !r.Time.Equal(s.now) {
			s.Fatalf("record %d has the time %v, want %v", i, r.Time, s.now)
		}
		got, err := s.log().Records(s.Context(), r.At, 1)
		s.ok(err)
		if want := texts(list[i+1 : min(i+2, len(list))]); !slices.Equal(texts(got), want) {
			s.Fatalf("behind %d is %q, want %q", r.At, texts(got), want)
		}
	}
	list[0].Data[0] = 'X' // what is returned is the caller's own
	s.wantLog("accepted 1", "accepted 2", "deferred", "report", "bounced 1", "bounced 2")
}

func (s *suite) logRecordSize() {
	long := s.record(strings.Repeat("x", spool.MaxRecord))
	s.accept(long)
	long.Data = append(long.Data, 'x')
	id := s.id()
	s.is(s.write(id, nil).Commit(s.Context(), spool.Commit{
		Deliveries: []spool.Delivery{s.delivery("a", s.now)}, Events: []spool.Record{long},
	}), spool.ErrRecordSize)
	s.gone(id)
	l := s.one()
	t := spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Events: []spool.Record{s.record("x"), long},
	}
	s.is(s.Settle(s.Context(), t), spool.ErrRecordSize)
	s.wantStats(1, 1, 1)
	t.Events = t.Events[:1]
	s.ok(s.Settle(s.Context(), t))
	s.wantLog(strings.Repeat("x", spool.MaxRecord), "x")
}

// logOfFailedSteps logs nothing of a step that did not happen.
func (s *suite) logOfFailedSteps() {
	s.accept(s.record("first"))
	l := s.one()
	never := []spool.Record{s.record("never")}
	c := spool.Commit{
		Deliveries: []spool.Delivery{s.delivery("a", s.now)}, Events: never,
		Settle: []spool.Settlement{{ID: l.Delivery.ID, Token: l.Token ^ 1, Events: never}},
	}
	s.is(s.write(s.id(), nil).Commit(s.Context(), c), spool.ErrLeaseLost)
	s.is(s.Settle(s.Context(), c.Settle[0]), spool.ErrLeaseLost)
	c.Settle = nil
	w := s.write(s.id(), nil)
	w2 := s.write(s.id(), nil)
	s.ok(w2.Abort())
	if err := w2.Commit(s.Context(), c); err == nil {
		s.Fatal("a commit after Abort was accepted")
	}
	c.Deliveries = nil
	s.is(w.Commit(s.Context(), c), spool.ErrNoDelivery)
	s.accept(s.record("last"))
	s.wantLog("first", "last")
}

func (s *suite) logCursor() {
	want := func(consumer string, want spool.Cursor) {
		s.Helper()
		got, err := s.log().Cursor(s.Context(), consumer)
		s.ok(err)
		if got != want {
			s.Fatalf("the place of %s is %d, want %d", consumer, got, want)
		}
	}
	want("a", 0)
	s.accept(s.record("1"), s.record("2"))
	list := s.wantLog("1", "2")
	s.ok(s.log().Advance(s.Context(), "a", list[1].At))
	want("a", list[1].At)
	want("b", 0)
	s.ok(s.log().Advance(s.Context(), "a", list[0].At)) // to read again
	s.ok(s.log().Advance(s.Context(), "b", list[1].At))
	want("a", list[0].At)
	want("b", list[1].At)
	if err := s.log().Advance(s.Context(), "a", list[1].At+1000); err == nil {
		s.Fatal("a place behind the newest record was taken")
	}
	want("a", list[0].At)
}

// logTruncate forgets the oldest and says so; a store may keep some for longer.
func (s *suite) logTruncate() {
	for i := range 5 {
		s.accept(s.record(fmt.Sprint(i)))
		s.sleep(time.Hour)
	}
	list := s.wantLog("0", "1", "2", "3", "4")
	oldest, newest, err := s.log().Bounds(s.Context())
	s.ok(err)
	if oldest >= list[0].At || newest != list[4].At {
		s.Fatalf("the log goes from %d to %d, want below %d to %d",
			oldest, newest, list[0].At, list[4].At)
	}
	s.ok(s.log().Truncate(s.Context(), list[2].Time))
	got, err := s.log().Records(s.Context(), list[1].At, 10)
	s.ok(err)
	if !slices.Equal(texts(got), []string{"2", "3", "4"}) {
		s.Fatalf("what is newer than asked was forgotten: %q", texts(got))
	}
	s.ok(s.log().Truncate(s.Context(), s.now.Add(1000*time.Hour)))
	oldest, newest, err = s.log().Bounds(s.Context())
	s.ok(err)
	if newest != list[4].At || oldest > newest {
		s.Fatalf("the log goes from %d to %d", oldest, newest)
	}
	if got, err = s.log().Records(s.Context(), oldest, 10); err != nil {
		s.Fatalf("from the oldest record on: %v", err)
	}
	if oldest >= list[0].At {
		_, err := s.log().Records(s.Context(), list[0].At-1, 10)
		gap, ok := errors.AsType[*spool.GapError](err)
		if s.is(err, spool.ErrGap); !ok || gap.Oldest != oldest || gap.After != list[0].At-1 {
			s.Fatalf("the gap is %+v, want up to %d", gap, oldest)
		}
	}
	s.accept(s.record("5"))
	all := s.records(oldest, len(got)+1)
	if last := all[len(all)-1]; string(last.Data) != "5" || last.At <= list[4].At {
		s.Fatalf("the newest is %q at %d", last.Data, last.At)
	}
}

func (s *suite) logAppended() {
	before := s.appended()
	s.accept()
	time.Sleep(s.quiet)
	if s.told(before) > 0 {
		s.Fatal("told of a record where there is none")
	}
	s.accept(s.record("1"))
	s.wantLog("1")
	s.wantTold(before)
	again := s.appended()
	for begun := time.Now(); s.told(again) > 0; again = s.appended() {
		if s.late(begun) {
			s.Fatal("the channel is not a fresh one")
		}
	}
	s.accept(s.record("2"))
	s.wantLog("1", "2")
	s.wantTold(again)
}

// appended returns what tells of the next record, for each node.
func (s *suite) appended() (list []<-chan struct{}) {
	for _, node := range s.nodes() {
		list = append(list, node.(spool.Log).Appended())
	}
	return list
}

// told counts the channels that are closed.
func (s *suite) told(list []<-chan struct{}) (n int) {
	for _, c := range list {
		select {
		case <-c:
			n++
		default:
		}
	}
	return n
}

// wantTold sees that all nodes have told of a record.
func (s *suite) wantTold(list []<-chan struct{}) {
	s.Helper()
	for begun := time.Now(); s.told(list) < len(list); {
		if s.late(begun) {
			s.Fatal("not told of a record")
		}
	}
}

// logConcurrent reads the log while many write it: each record is seen once.
func (s *suite) logConcurrent() {
	const writers, each = 6, 20
	var wg sync.WaitGroup
	ids := make([][]spool.ID, writers)
	for n := range writers {
		for range each {
			ids[n] = append(ids[n], s.id())
		}
	}
	for n := range writers {
		wg.Go(func() {
			for i, id := range ids[n] {
				w, err := s.Create(s.Context(), id)
				if err == nil {
					err = w.Commit(s.Context(), spool.Commit{
						Deliveries: []spool.Delivery{s.delivery("a", s.now)},
						Events:     []spool.Record{s.record(fmt.Sprint(n, " ", i))},
					})
				}
				if err != nil {
					s.Error(err)
				}
			}
		})
	}
	next := make([]int, writers)
	for _, r := range s.records(0, writers*each) {
		var n, i int
		fmt.Sscan(string(r.Data), &n, &i)
		if next[n] != i {
			s.Fatalf("record %q, want %d of that writer", r.Data, next[n])
		}
		next[n]++
	}
	wg.Wait()
}
