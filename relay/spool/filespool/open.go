package filespool

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// Open opens the store in a directory, which is made if it is missing; o may be
// nil. Nobody else may have it open: see ErrLocked.
func Open(dir string, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	return openFS(dir, o, disk{noSync: o.InsecureNoSync})
}

func openFS(dir string, o *Options, fs fsys) (*Store, error) {
	filled, err := o.filled()
	if err != nil {
		return nil, err
	}
	s := newStore(dir, &filled, fs)
	if err := os.MkdirAll(s.files, 0o700); err != nil {
		return nil, err
	}
	if s.lock, err = waitLock(filepath.Join(dir, "lock"), o.Wait); err != nil {
		return nil, fmt.Errorf("%w: %s", err, dir)
	}
	if err := s.checkOwner(); err != nil {
		unlockFile(s.lock)
		return nil, err
	}
	if err := s.recover(); err != nil {
		s.release()
		return nil, err
	}
	go s.commit()
	go s.clean()
	s.wakeCleaner()
	return s, nil
}

// newStore returns a store that knows of nothing yet.
func newStore(dir string, o *Options, fs fsys) *Store {
	s := &Store{
		dir: dir, files: filepath.Join(dir, "files"), fs: fs, log: o.Logger,
		threshold: o.Threshold, segmentBytes: o.SegmentBytes, maxBytes: o.MaxBytes,
		minFree: o.MinFree, cleanBytes: o.CleanBytes, delay: o.SettleDelay,
		now: time.Now, opened: time.Now(),

		wakes:      make(chan struct{}, 1),
		kick:       make(chan struct{}, 1),
		timer:      time.NewTimer(time.Hour),
		quit:       make(chan struct{}),
		ended:      make(chan struct{}),
		cleanKick:  make(chan struct{}, 1),
		cleanEnded: make(chan struct{}),
		zeros:      make([]byte, 64<<10),
		leases:     make(map[uint32]*lease),
		updates:    make(map[uint32]*update),
		committing: make(map[spool.ID]struct{}),
		batch:      newBatch(nil),
		byNumber:   make(map[uint32]*segment),
		lost:       make(map[spool.ID]*loss),
		spoiled:    make(map[spool.ID]struct{}),
	}
	s.timer.Stop()
	s.room = sync.NewCond(&s.mu)
	s.ends.less = func(a, b *lease) bool { return a.until < b.until }
	s.ends.moved = func(l *lease, at int) { l.at = at }
	s.buffers.New = func() any { b := make([]byte, 0, 16<<10); return &b }
	s.picks.New = func() any { return new([]pick) }
	s.metas.New = func() any { b := make([]byte, 0, 1<<10); return &b }
	s.index = newIndex()
	s.index.sooner = s.sooner
	s.events, s.claims, s.shared = newLedger(s, ".events", sheetAge), newClaims(s), newShared(s)
	return s
}
