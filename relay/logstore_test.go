package relay_test

import (
	"context"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// logStore is a store whose log a test writes by hand, and which fails when it
// is told to.
type logStore struct {
	spool.Store

	mu       sync.Mutex
	list     []spool.Logged
	oldest   spool.Cursor
	cursors  map[string]spool.Cursor
	appended chan struct{}
	fail     error // of every method, if set
	damaged  spool.Cursor
	strict   bool // Advance looks at its context
	advanced int
}

func newLogStore() *logStore {
	return &logStore{
		Store: memspool.New(nil), cursors: map[string]spool.Cursor{},
		appended: make(chan struct{}),
	}
}

// add appends events named by their queue ids; "!" is no event.
func (s *logStore) add(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		data := []byte("damaged")
		if id != "!" {
			e := event.Event{Kind: event.Accepted, QueueID: id, Time: time.Now()}
			data = event.Append(nil, &e)
		}
		at := s.oldest + 10
		if n := len(s.list); n > 0 {
			at = s.list[n-1].At + 10
		}
		s.list = append(s.list, spool.Logged{
			At: at, Record: spool.Record{Time: time.Now(), Data: data},
		})
	}
	close(s.appended)
	s.appended = make(chan struct{})
}

func (s *logStore) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *logStore) Records(
	_ context.Context, after spool.Cursor, most int,
) (out []spool.Logged, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	if after < s.oldest {
		return nil, &spool.GapError{After: after, Oldest: s.oldest}
	}
	for _, l := range s.list {
		if l.At <= after {
			continue
		}
		if l.At == s.damaged && len(out) == 0 {
			return nil, &spool.GapError{After: after, Oldest: l.At}
		}
		if l.At == s.damaged || len(out) == most {
			break
		}
		out = append(out, l)
	}
	return out, nil
}

func (s *logStore) Cursor(_ context.Context, consumer string) (spool.Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursors[consumer], s.fail
}

func (s *logStore) Advance(ctx context.Context, consumer string, to spool.Cursor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.strict && ctx.Err() != nil {
		return ctx.Err()
	}
	if s.fail == nil {
		s.cursors[consumer] = to
		s.advanced++
	}
	return s.fail
}

func (s *logStore) Truncate(_ context.Context, before time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.list) > 0 && s.list[0].Time.Before(before) {
		s.oldest, s.list = s.list[0].At, s.list[1:]
	}
	return nil
}

func (s *logStore) Appended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.appended
}

func (s *logStore) Bounds(context.Context) (oldest, newest spool.Cursor, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest = s.oldest
	if n := len(s.list); n > 0 {
		newest = s.list[n-1].At
	}
	return s.oldest, newest, nil
}
