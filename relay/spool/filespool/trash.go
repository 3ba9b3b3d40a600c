package filespool

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/postern-mail/postern/relay/spool"
)

type ownTrash struct {
	id   spool.ID
	size int64
	told bool // that it could not be removed
}

// empty removes the files of finished messages. It reports whether any went;
// the others are tried again.
func (s *Store) empty() bool {
	s.mu.Lock()
	trash := s.trash
	s.trash = nil
	s.mu.Unlock()
	went := false
	for _, t := range trash {
		err := s.finish(t.id)
		gone := err == nil || errors.Is(err, fs.ErrNotExist)
		if !gone && !t.told {
			s.log.Warn("filespool: the file of a finished message stays for now",
				"queue_id", t.id, "err", err)
		}
		s.mu.Lock()
		if gone {
			s.ownBytes -= t.size
			went = true
		} else {
			t.told = true
			s.trash = append(s.trash, t)
		}
		s.mu.Unlock()
	}
	return went
}

// finish removes the file of a finished message, or keeps it aside if it was
// found to be damaged.
func (s *Store) finish(id spool.ID) error {
	s.mu.Lock()
	_, spoiled := s.spoiled[id]
	s.mu.Unlock()
	if !spoiled {
		return s.fs.Remove(s.ownName(id))
	}
	err := s.fs.Rename(s.ownName(id), filepath.Join(s.dir, id.String()+savedSuffix))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		s.mu.Lock()
		delete(s.spoiled, id)
		s.mu.Unlock()
	}
	return err
}

// drop removes the file of a message that is not in the store. It returns the
// room taken until the cleaner removes a file that could not be removed now, or
// that a failed batch may still name.
func (s *Store) drop(id spool.ID, size int64) int64 {
	s.mu.Lock()
	uncut := s.uncut
	if uncut {
		s.doubtful = append(s.doubtful, ownTrash{id: id, size: size})
	}
	s.mu.Unlock()
	if uncut {
		return size
	}
	err := s.fs.Remove(s.ownName(id))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trash = append(s.trash, ownTrash{id: id, size: size})
	return size
}
