package spool

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// MaxRecord is the greatest length of Record.Data, in bytes. A Commit or a
// Settlement with a longer one fails with ErrRecordSize.
const MaxRecord = 64 << 10

var (
	// ErrRecordSize answers Commit and Settle with a record that is longer than
	// MaxRecord.
	ErrRecordSize = errors.New("spool: record is too long")
	// ErrGap stands in a *GapError.
	ErrGap = errors.New("spool: records were dropped")
)

// Record is one event as the store keeps it. Only the relay understands Data.
type Record struct {
	// Time is what Log.Truncate goes by.
	Time time.Time
	// Data is at most MaxRecord bytes.
	Data []byte
}

// Cursor is a place in the log: behind a record, in front of the next. It rises
// from record to record, not by one. 0 is in front of the first one.
type Cursor uint64

// Logged is a record of the log.
type Logged struct {
	// At is the place behind the record.
	At Cursor
	Record
}

// Log is an optional interface of a Store that keeps the Events of Commit and
// Settlement. They are in the log if, and only if, the step that they came with
// happened: in the order of the steps, each once, and each in the same place
// for good.
type Log interface {
	// Records returns at most max records behind a place, in their order, and
	// none when there are no more. It returns only what is durable. A store may
	// return fewer than max while there are more. If records behind after were
	// dropped it answers a *GapError.
	Records(ctx context.Context, after Cursor, max int) ([]Logged, error)
	// Cursor returns the place of a consumer: what Advance was told last, 0
	// before that.
	Cursor(ctx context.Context, consumer string) (Cursor, error)
	// Advance sets the place of a consumer. When it returns nil the place
	// survives the loss of power. It may go back, to read again, but not behind
	// the newest record. The relay asks for the place before it moves it, and
	// only moves it forward: a consumer may move its place in a transaction of
	// its own, of which the store then tells by Cursor as soon as it is
	// through.
	Advance(ctx context.Context, consumer string, to Cursor) error
	// Truncate forgets records with a Time before the one given, from the
	// oldest on and up to the first that stays. A store may keep some of them
	// for longer, where it drops many at once.
	Truncate(ctx context.Context, before time.Time) error
	// Appended returns a channel that is closed at the next durable record.
	// Each call returns a fresh one: call it, read Records, then wait.
	Appended() <-chan struct{}
	// Bounds returns the places in front of the oldest record and behind the
	// newest. They are the same while the log is empty.
	Bounds(ctx context.Context) (oldest, newest Cursor, err error)
}

// GapError answers Log.Records when records behind After are gone: Truncate
// dropped them, or they were damaged. It is an ErrGap. Reading goes on from
// Oldest.
type GapError struct {
	After, Oldest Cursor
}

func (e *GapError) Error() string {
	return fmt.Sprintf("%v: those between %d and %d", ErrGap, e.After, e.Oldest)
}

// Unwrap returns ErrGap.
func (e *GapError) Unwrap() error { return ErrGap }
