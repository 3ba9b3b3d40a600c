package filespool

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	consumersName   = "consumers"
	maxConsumers    = 1000
	maxConsumerName = 255
)

var (
	errConsumers    = errors.New("filespool: too many consumers")
	errConsumerName = errors.New("filespool: consumer's name is empty or longer than 255 bytes")
)

// consumers are the places of those who follow the events. A file holds them
// all, which is replaced when one moves.
type consumers struct {
	writing sync.Mutex              // held while the file is replaced
	at      map[string]spool.Cursor // with Store.mu held
}

// The file of the consumers: each one's name and place.
func appendConsumers(b []byte, at map[string]spool.Cursor) []byte {
	for _, name := range slices.Sorted(maps.Keys(at)) {
		b = appendString(b, name)
		b = binary.LittleEndian.AppendUint64(b, uint64(at[name]))
	}
	return b
}

func parseConsumers(b []byte) (map[string]spool.Cursor, bool) {
	at := make(map[string]spool.Cursor)
	d := &decoder{b: b, s: string(b)}
	for d.at < len(d.b) && !d.bad {
		name, c := d.string(), d.time()
		if d.bad || len(at) == maxConsumers {
			return nil, false
		}
		at[name] = spool.Cursor(c)
	}
	return at, true
}

// openConsumers reads the file. Those of a damaged one begin again.
func (s *Store) openConsumers() error {
	b, err := s.readSmall(consumersName)
	if err != nil {
		return err
	}
	at, ok := parseConsumers(b)
	if !ok {
		at = make(map[string]spool.Cursor)
		if err := s.putAside(consumersName, int64(len(b))); err != nil {
			return err
		}
	}
	s.consumers.at = at
	return nil
}

// Cursor returns the place of a consumer of the events.
func (s *Store) Cursor(ctx context.Context, consumer string) (spool.Cursor, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return s.consumers.at[consumer], nil
}

// Advance sets the place of a consumer of the events and waits until the disk
// has it. There are at most 1000 consumers, of which one at 0 is none.
func (s *Store) Advance(ctx context.Context, consumer string, to spool.Cursor) error {
	if consumer == "" || len(consumer) > maxConsumerName {
		return errConsumerName
	}
	s.consumers.writing.Lock()
	defer s.consumers.writing.Unlock()
	at, err := s.advanced(ctx, consumer, to)
	if err != nil {
		return err
	}
	if err := s.replaceFile(consumersName, appendConsumers(nil, at)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumers.at = at
	return nil
}

// advanced returns the places with one moved.
func (s *Store) advanced(
	ctx context.Context, consumer string, to spool.Cursor,
) (map[string]spool.Cursor, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if s.failed != nil {
		return nil, s.failed
	}
	if to > s.events.last && to > s.consumers.at[consumer] {
		return nil, errAhead
	}
	at := maps.Clone(s.consumers.at)
	if at[consumer] = to; to == 0 {
		delete(at, consumer)
	}
	if len(at) > maxConsumers {
		return nil, errConsumers
	}
	return at, nil
}
