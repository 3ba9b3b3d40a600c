package memspool

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

var (
	_ spool.Shared = (*Store)(nil)

	errShared = errors.New("memspool: shared key or value is too long")
)

// enterShared begins a method; on nil the caller holds the lock.
func (s *Store) enterShared(ctx context.Context, key string, value []byte) error {
	if len(key) > spool.MaxSharedKey || len(value) > spool.MaxSharedValue {
		return errShared
	}
	return s.enter(ctx)
}

// Add adds to a counter.
func (s *Store) Add(
	ctx context.Context, key string, n int64, ttl time.Duration,
) (int64, error) {
	if err := s.enterShared(ctx, key, nil); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	k, now := itemKey{true, key}, time.Now()
	v := s.shared.find(k, now)
	if v == nil {
		if v = (&item{itemKey: k, until: now.Add(ttl)}); ttl > 0 {
			s.shared.put(v)
		}
	}
	v.count += n
	return v.count, nil
}

// Get returns a value.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.enterShared(ctx, key, nil); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	v := s.shared.find(itemKey{false, key}, time.Now())
	if v == nil {
		return nil, spool.ErrNotFound
	}
	return bytes.Clone(v.value), nil
}

// Put sets a value.
func (s *Store) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := s.enterShared(ctx, key, value); err != nil {
		return err
	}
	defer s.mu.Unlock()
	k, now := itemKey{false, key}, time.Now()
	if old := s.shared.find(k, now); old != nil {
		s.shared.remove(old)
	}
	if ttl > 0 {
		s.shared.put(&item{itemKey: k, value: append([]byte{}, value...), until: now.Add(ttl)})
	}
	return nil
}
