package filespool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

var (
	// ErrLocked answers Open for a directory that another store has open, in
	// this process or in another.
	ErrLocked = errors.New("filespool: directory is in use")
	// ErrDamaged answers reading content that is not what was written, and
	// stands in the leases of deliveries that cannot be read any more. It is a
	// [spool.ErrDamaged].
	ErrDamaged = fmt.Errorf("filespool: %w", spool.ErrDamaged)

	errDone    = errors.New("filespool: writer is at its end")
	errTooLong = errors.New("filespool: message is too long")

	errNoContext = errors.New("filespool: nil context")
	// errInTheWay passes: the file of another attempt at the message is yet to
	// go.
	errInTheWay = errors.New("filespool: a file of the message is being written or removed")
)

const maxContent = 1 << 30 // of one part of a record

const (
	openRead   = os.O_RDONLY
	openWrite  = os.O_RDWR
	openCreate = os.O_RDWR | os.O_CREATE
	openNew    = os.O_RDWR | os.O_CREATE | os.O_EXCL
)

// Store keeps a queue in a directory.
type Store struct {
	dir, files   string
	fs           fsys
	lock         *os.File
	log          *slog.Logger
	mark         uint64
	threshold    int
	segmentBytes int64
	maxBytes     int64
	minFree      int64
	cleanBytes   int64
	delay        time.Duration
	recovery     Recovery
	now          func() time.Time
	opened       time.Time // what the ends of leases are counted from
	buffers      sync.Pool // of content
	metas        sync.Pool
	picks        sync.Pool // of what a call of Lease has chosen
	events       *ledger
	claims       claims
	consumers    consumers
	shared       *shared

	wakes chan struct{} // Wake
	kick  chan struct{}
	timer *time.Timer
	quit  chan struct{}
	ended chan struct{} // the committer has

	cleanKick  chan struct{}
	cleanEnded chan struct{}
	spareMu    sync.Mutex // held while the spare file comes or goes
	unnamed    bool       // the spare file has its name not for sure

	// The committer's own.
	seq    uint64
	zeros  []byte
	active *segment
	next   *segment // has its name and is yet to be opened

	mu         sync.Mutex
	room       *sync.Cond // the batch at hand has been taken
	closed     bool
	failed     error
	index      *index
	leases     map[uint32]*lease // by delivery
	ends       heap[*lease]
	updates    map[uint32]*update // not yet in the log
	committing map[spool.ID]struct{}
	batch      *batch
	flushing   bool
	segments   []*segment // oldest first
	byNumber   map[uint32]*segment
	live       int64 // bytes of records that count
	logBytes   int64 // of the files of the log
	ownBytes   int64 // of the other files
	trash      []ownTrash
	uncut      bool                  // a failed batch is behind the end of the log
	doubtful   []ownTrash            // for when it is not
	lost       map[spool.ID]*loss    // parts of the log that stand for a message
	spoiled    map[spool.ID]struct{} // messages whose content is known to be damaged
	cleanAfter time.Time             // copying pauses until then
	resting    int                   // leases that were given back for a while
	free       int64                 // of the disk, when last asked
	freeAsked  time.Time
}

var _ spool.Store = (*Store)(nil)

// open tells whether the store still is. The caller holds the lock.
func (s *Store) open() error {
	if s.closed {
		return spool.ErrClosed
	}
	return nil
}

// enter begins a method; on nil the caller holds the lock.
func (s *Store) enter(ctx context.Context) error {
	if ctx == nil {
		return errNoContext
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if err := s.open(); err != nil {
		s.mu.Unlock()
		return err
	}
	return nil
}

// Stats returns the totals.
func (s *Store) Stats(ctx context.Context) (spool.Stats, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Stats{}, err
	}
	defer s.mu.Unlock()
	return spool.Stats{
		Messages:   int64(s.index.messages.len()),
		Deliveries: int64(s.index.deliveries.len()),
		Leased:     int64(len(s.leases) - s.resting),
		Bytes:      s.index.bytes,
	}, nil
}

// Close writes what is left to write and lets go of the directory.
// Content that was opened stays readable.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.cleanEnded
		return nil
	}
	s.closed = true
	s.room.Broadcast()
	s.mu.Unlock()
	close(s.quit)
	<-s.ended
	<-s.cleanEnded
	s.shared.close()
	err := s.broken()
	s.release()
	return err
}

// release closes what is open.
func (s *Store) release() {
	s.mu.Lock()
	segments := s.segments
	// A closed store that somebody holds on to takes no memory.
	s.segments, s.index, s.batch = nil, newIndex(), newBatch(nil)
	clear(s.leases)
	clear(s.updates)
	var idle []*segment
	for _, g := range segments {
		g.gone = true
		if g.pins == 0 {
			idle = append(idle, g)
		}
	}
	s.mu.Unlock()
	for _, g := range idle {
		g.file.Close()
	}
	s.events.close()
	s.claims.ledger.close()
	unlockFile(s.lock)
}
