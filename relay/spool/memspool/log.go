package memspool

import (
	"context"
	"errors"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const maxConsumers = 1000

var (
	_ spool.Log = (*Store)(nil)

	errAhead     = errors.New("memspool: cursor is behind the newest record")
	errConsumers = errors.New("memspool: too many consumers")
	errNoMax     = errors.New("memspool: no records wanted")
)

// checkEvents refuses events that are too long.
func checkEvents(lists ...[]spool.Record) error {
	for _, list := range lists {
		for i := range list {
			if len(list[i].Data) > spool.MaxRecord {
				return spool.ErrRecordSize
			}
		}
	}
	return nil
}

// Records returns events.
func (s *Store) Records(
	ctx context.Context, after spool.Cursor, max int,
) ([]spool.Logged, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if max <= 0 {
		return nil, errNoMax
	}
	return s.events.read(after, max)
}

// Cursor returns the place of a consumer.
func (s *Store) Cursor(ctx context.Context, consumer string) (spool.Cursor, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return s.cursors[consumer], nil
}

// Advance sets the place of a consumer. There are at most 1000.
func (s *Store) Advance(ctx context.Context, consumer string, to spool.Cursor) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if to > s.events.last {
		return errAhead
	}
	if _, ok := s.cursors[consumer]; !ok && len(s.cursors) >= maxConsumers {
		return errConsumers
	}
	s.cursors[consumer] = to
	return nil
}

// Truncate forgets older events.
func (s *Store) Truncate(ctx context.Context, before time.Time) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.events.truncate(before)
	return nil
}

// Appended returns a channel that is closed at the next event, or by Close.
func (s *Store) Appended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c := make(chan struct{})
		close(c)
		return c
	}
	if s.events.grown == nil {
		s.events.grown = make(chan struct{})
	}
	return s.events.grown
}

// Bounds returns the places in front of the oldest event and behind the newest.
func (s *Store) Bounds(ctx context.Context) (oldest, newest spool.Cursor, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, 0, err
	}
	defer s.mu.Unlock()
	return s.events.oldest(), s.events.last, nil
}
