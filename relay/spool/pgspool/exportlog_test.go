package pgspool

import (
	"context"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// Sequencing is the lock of the sequencer.
const Sequencing = sequencing

// RestOfLog is the default partition.
const RestOfLog = restOfLog

// ReadText reads the log.
func (s *Store) ReadText() string { return s.in(readText) }

// Place gives events their places, and reports whether it was its turn.
func (s *Store) Place(ctx context.Context) (bool, error) {
	got, err := s.place(ctx)
	return got != lookedBusy, err
}

// WaitQuietly has the sequencer think that it saw nothing new for so long that
// it passes over what it has placed.
func (s *Store) WaitQuietly() {
	q := s.sequencer
	<-q.turn
	defer func() { q.turn <- struct{}{} }()
	for i := range q.marks {
		q.marks[i].at = q.marks[i].at.Add(-settledAfter)
	}
}

// LookAtHealth looks for what makes the queue slow, at a time.
func (s *Store) LookAtHealth(ctx context.Context, now time.Time) error {
	return s.lookAtHealth(ctx, now)
}

// Tidy tidies up.
func (s *Store) Tidy(ctx context.Context) {
	for s.tidy(ctx) {
	}
}

// Blob is what a row of inbox has of records.
func Blob(records ...spool.Record) (n int, until time.Time, data []byte) {
	var b blobs
	b.add(records)
	return b[0].n, b[0].until, b[0].data
}
