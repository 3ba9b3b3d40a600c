package spooltest

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

func concurrentCases() []testCase {
	return []testCase{
		{"Closed", nil, (*suite).closed},
		{"Canceled", nil, (*suite).canceled},
		{"LeaseRace", nil, (*suite).leaseRace},
		{"Concurrent", nil, (*suite).concurrent},
	}
}

// leaseRace has many ask at once: each delivery has one holder.
func (s *suite) leaseRace() {
	const n, workers = 200, 8
	for i := range n {
		s.commit(s.delivery(fmt.Sprint("r", i%7), s.now))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	begun := time.Now()
	holders := make(map[spool.DeliveryID]int)
	for range workers {
		wg.Go(func() {
			for {
				l, err := s.Lease(s.Context(), spool.LeaseRequest{Max: 9, TTL: time.Hour})
				if err != nil {
					s.Error(err)
					return
				}
				mu.Lock()
				twice := false
				for _, l := range l.Leases {
					holders[l.Delivery.ID]++
					twice = twice || holders[l.Delivery.ID] > 1
				}
				all := len(holders) == n
				mu.Unlock()
				if twice || len(l.Leases) == 0 && (all || s.late(begun)) {
					return
				}
			}
		})
	}
	wg.Wait()
	for id, many := range holders {
		if many > 1 {
			s.Fatalf("%v was given to %d holders", id, many)
		}
	}
	if len(holders) != n {
		s.Fatalf("leased %d of %d", len(holders), n)
	}
}

func (s *suite) closed() {
	id := s.commit(s.delivery("a", s.now))
	l := s.one()
	w := s.write(s.id(), []byte("late"))
	s.ok(s.Close())
	ctx := s.Context()
	s.is(
		w.Commit(ctx, spool.Commit{Deliveries: []spool.Delivery{s.delivery("a", s.now)}}),
		spool.ErrClosed,
	)
	_, err := s.Create(ctx, s.id())
	s.is(err, spool.ErrClosed)
	_, err = s.Open(ctx, id)
	s.is(err, spool.ErrClosed)
	_, err = s.Lease(ctx, spool.LeaseRequest{Max: 1})
	s.is(err, spool.ErrClosed)
	_, err = s.Renew(ctx, time.Minute, []spool.Held{held(l)})
	s.is(err, spool.ErrClosed)
	s.is(s.Store.Return(ctx, 0, []spool.Held{held(l)}), spool.ErrClosed)
	s.is(s.Settle(ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token}), spool.ErrClosed)
	_, err = s.Stats(ctx)
	s.is(err, spool.ErrClosed)
	s.ok(s.Close())
}

func (s *suite) canceled() {
	id := s.commit(s.delivery("a", s.now))
	l := s.one()
	w := s.write(s.id(), []byte("late"))
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	s.is(
		w.Commit(ctx, spool.Commit{Deliveries: []spool.Delivery{s.delivery("a", s.now)}}),
		context.Canceled,
	)
	_, err := s.Create(ctx, s.id())
	s.is(err, context.Canceled)
	_, err = s.Open(ctx, id)
	s.is(err, context.Canceled)
	_, err = s.Lease(ctx, spool.LeaseRequest{Max: 1})
	s.is(err, context.Canceled)
	_, err = s.Renew(ctx, time.Minute, []spool.Held{held(l)})
	s.is(err, context.Canceled)
	s.is(s.Store.Return(ctx, 0, []spool.Held{held(l)}), context.Canceled)
	s.is(s.Settle(ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token}), context.Canceled)
	s.wantStats(1, 1, 1)
}

// concurrent has messages come in and go out at once, and counts each
// recipient.
func (s *suite) concurrent() {
	const sessions, each, workers = 8, 40, 4
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	done := make(map[spool.ID]int)
	left := sessions * each
	served := make(chan struct{})
	var wg sync.WaitGroup
	for n := range sessions {
		wg.Go(func() {
			for i := range each {
				id := spool.NewID(s.now)
				w, err := s.Create(ctx, id)
				if err == nil {
					_, err = w.Write(fmt.Appendf(nil, "%s", id))
				}
				if err == nil {
					err = w.Commit(
						ctx,
						spool.Commit{
							Deliveries: []spool.Delivery{
								s.delivery(fmt.Sprint("r", (n+i)%5), s.now),
							},
						},
					)
				}
				if err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	for range workers {
		wg.Go(func() {
			for {
				select {
				case <-served:
					return
				default:
				}
				l, err := s.Lease(
					ctx, spool.LeaseRequest{Max: 7, TTL: time.Hour, MaxPerKey: 3},
				)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					s.Error(err)
					return
				}
				if len(l.Leases) == 0 {
					// The clock of a bubble stands still while anybody works.
					time.Sleep(s.pause)
				}
				for _, l := range l.Leases {
					r, err := s.Open(ctx, l.Message.ID)
					if err != nil {
						s.Error(err)
						return
					}
					b, err := io.ReadAll(r)
					r.Close()
					if err != nil || string(b) != l.Message.ID.String() {
						s.Errorf("content of %v is %q, %v", l.Message.ID, b, err)
					}
					t := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
					again := l.Delivery.Attempts == 0 && l.Message.ID[15]%2 == 0
					if again {
						t.Remaining, t.Due, t.Attempts = l.Delivery.Recipients, s.now, 1
					}
					if err := s.Settle(ctx, t); err != nil {
						s.Error(err)
						return
					}
					if again {
						continue
					}
					mu.Lock()
					if done[l.Message.ID]++; done[l.Message.ID] > 1 {
						s.Errorf("%v was served twice", l.Message.ID)
					}
					if left--; left == 0 {
						close(served)
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if left > 0 && !s.Failed() {
		s.Errorf("%d of %d messages were not handed out within a minute", left, sessions*each)
	}
	if !s.Failed() {
		s.wantStats(0, 0, 0)
	}
}
