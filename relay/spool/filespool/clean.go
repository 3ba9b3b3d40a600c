package filespool

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"
)

// The cleaner gives space back: files of messages that are finished, and
// segments from the oldest end of the log. It must be the oldest end: a
// settlement, and the copy that replaces a record, count as long as what they
// end may still be found before them.

const (
	cleanStep  = 256 << 10        // bytes copied between pauses
	cleanRetry = 10 * time.Second // after there was no way forward
)

func (s *Store) wakeCleaner() {
	select {
	case s.cleanKick <- struct{}{}:
	default:
	}
}

// wantsCleaning tells whether there is anything to do. The caller holds the
// lock.
func (s *Store) wantsCleaning() bool {
	return len(s.trash) > 0 || len(s.segments) > 1 && s.segments[0].live == 0 ||
		s.claims.spent() || s.sparse()
}

// sparse tells whether so little of the log still counts that it is worth
// copying the oldest of it. What is copied is then never more than what is
// given back.
func (s *Store) sparse() bool {
	if len(s.segments) < 2 || time.Now().Before(s.cleanAfter) {
		return false
	}
	var used int64
	for _, g := range s.segments {
		used += g.end
	}
	waste := used - s.live
	if waste < 2*s.segmentBytes {
		return false
	}
	return waste > s.live || s.maxBytes > 0 && used+s.ownBytes > s.maxBytes/2
}

func (s *Store) clean() {
	defer close(s.cleanEnded)
	for {
		select {
		case <-s.cleanKick:
		case <-s.ended:
			s.empty()
			return
		}
		for s.empty() || s.dropOldest() || s.thinOldest() || s.dropClaims() {
			select {
			case <-s.ended:
			default:
				continue
			}
			break
		}
	}
}

// dropOldest gives the oldest segment back if nothing in it counts: its file is
// removed, or kept for the next roll.
func (s *Store) dropOldest() bool {
	s.mu.Lock()
	if s.failed != nil || len(s.segments) < 2 {
		s.mu.Unlock()
		return false
	}
	g := s.segments[0]
	idle := g.live == 0 && g.pins == 0
	needed := s.segments[1].before
	s.mu.Unlock()
	if !idle || !s.outlive(needed) {
		return false
	}
	// Nobody can find the segment any more: the index names it nowhere.
	g.file.Close()
	if err := s.discard(g); err != nil {
		s.log.Warn("filespool: a segment without messages stays",
			"segment", segmentName(g.number), "err", err)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cleanAfter = time.Now().Add(cleanRetry)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments = append([]*segment(nil), s.segments[1:]...)
	delete(s.byNumber, g.number)
	s.logBytes -= g.size
	return true
}

func (s *Store) discard(g *segment) error {
	s.spareMu.Lock()
	defer s.spareMu.Unlock()
	name, spare := filepath.Join(s.dir, segmentName(g.number)), filepath.Join(s.dir, spareName)
	var err error
	if g.size >= s.segmentBytes/2 && g.size <= 2*s.segmentBytes {
		err = s.fs.Rename(name, spare) // instead of a spare that is there
	} else {
		err = s.fs.Remove(name)
	}
	// It may be gone already, and only the sync be missing.
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// A later one must not be gone before this one is.
	s.unnamed = true
	if err := s.fs.SyncDir(s.dir); err != nil {
		return s.unsynced(err)
	}
	s.unnamed = false
	return nil
}
